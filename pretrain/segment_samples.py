"""MFCC images of a store's labelled clips as training samples (priyasad2019 §3.2)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import xxhash
from torch import Tensor

from ..cache.errors import StoreError
from ..cache.rows import Row
from ..cache.store import FeatureStore
from ..extract.backbones import BackboneSpec
from ..extract.backbones.backbone import LUMA
from ..extract.mfcc_image import MFCC_IMAGE_SETTINGS
from ..extract.streams.segments import SEGMENTS, resized
from .audio_changes import draw_masks
from .labelled import PackedSpeech, grouped, nothing_usable
from .pictures import Skipped
from .recipe import AudioChanges, SegmentChanges
from .specs import Normalisation

PARTS = ("train", "val", "test")


@dataclass(frozen=True, eq=False, kw_only=True)
class PackedSegments(PackedSpeech):
    """The S segments of N clips; clips of one subject, or with identical segments, are a group.

    Attributes:
        images: ``[S, 64, 64, 3]`` uint8.
        clips: clip of each segment, in order, ``[S]`` int.
    """

    images: np.ndarray
    clips: np.ndarray

    def _content(self) -> Iterable[bytes | memoryview]:
        return self.images.data, self.clips.data, *self._told()

    def segments_of(self, clips: np.ndarray) -> np.ndarray:
        """Return the indices of the segments of these clips, in order."""
        return np.flatnonzero(np.isin(self.clips, clips))


def pack_segments(
    store: FeatureStore,
    rows: Sequence[Row],
    classes: Sequence[str],
    on_clip: Callable[[], object],
    named: bool = True,
) -> PackedSegments:
    """Read the segments of labelled clips, leaving out clips that have none or cannot be read.

    Args:
        store: store with the segments.
        rows: clips, each with a label of ``classes``.
        classes: C names.
        on_clip: called after each clip.
        named: whether to use the names of speakers.

    Raises:
        PretrainError: no clip has segments.
        StoreError: they were cut with different settings.
    """
    used: list[Row] = []
    images: list[np.ndarray] = []
    skipped: list[Skipped] = []
    for row in rows:
        try:
            images.append(store.read(row, SEGMENTS, ["image"])["image"])
            used.append(row)
        except StoreError as error:
            entry = row.entries.get(SEGMENTS)
            skipped.append(Skipped(str(row.clip), entry.reason if entry and entry.reason else str(error)))
        on_clip()
    if not used:
        remedy = f"; `avemo-extract CLIPS --segments --store {store.path}` cuts speech into them"
        raise nothing_usable(str(store.path), f"{len(rows)} labelled clips has segments", skipped, remedy)
    store.key(SEGMENTS, used)  # raises if settings differ
    subjects = [row.clip.subject or "" if named else "" for row in used]
    prints = [xxhash.xxh3_128_digest(np.ascontiguousarray(of_clip).data) for of_clip in images]
    targets = [classes.index(row.clip.label or "") for row in used]
    return PackedSegments(
        classes=tuple(classes),
        images=np.concatenate(images),
        clips=np.repeat(np.arange(len(used)), [len(of_clip) for of_clip in images]),
        labels=np.eye(len(classes), dtype=np.float32)[targets],
        parts=np.array([row.clip.split if row.clip.split in PARTS else "" for row in used]),
        subjects=np.array(subjects),
        groups=grouped(prints, subjects),
        skipped=tuple(skipped),
    )


class SegmentSamples:
    """Segments as :class:`.samples.Samples`, fed as in :func:`..extract.streams.segments.segment_vectors`.

    Args:
        packed: segments.
        spec: network.
        changes: augmentation for training.
    """

    at_once = 64

    def __init__(self, packed: PackedSegments, spec: BackboneSpec, changes: SegmentChanges) -> None:
        self.classes, self.labels = packed.classes, packed.labels[packed.clips]
        self.full_size = spec.input_size
        self._images, self._changes = packed.images, changes
        self._normalisation, self._grey = Normalisation.of(spec), spec.colour == "grey"

    def size(self, epoch: int) -> int:
        return self.full_size

    def changed(
        self, rows: np.ndarray, epoch: int, generator: torch.Generator, device: torch.device
    ) -> Tensor:
        return self._input(changed(self._images[rows], self._changes, generator), device)

    def plain(self, rows: np.ndarray, size: int, device: torch.device) -> Tensor:
        return self._input(self._images[rows], device)

    def _input(self, images: np.ndarray, device: torch.device) -> Tensor:
        pictures = torch.from_numpy(resized(images, self.full_size)).to(device).float()
        if self._grey:
            pictures = (pictures @ torch.tensor(LUMA, device=device))[..., None]
        return self._normalisation(pictures.permute(0, 3, 1, 2))


def changed(images: np.ndarray, changes: SegmentChanges, generator: torch.Generator) -> np.ndarray:
    """Augment ``[B, 64, 64, 3]`` uint8 images at random; masked areas are set to their channel's mean."""
    count, bins, frames, _ = images.shape
    shifts = torch.randint(-changes.shift, changes.shift + 1, (count, 1), generator=generator).numpy()
    columns = np.clip(np.arange(frames) + shifts, 0, frames - 1)
    moved = np.take_along_axis(images, columns[:, None, :, None], axis=2)
    rate = MFCC_IMAGE_SETTINGS.sample_rate / MFCC_IMAGE_SETTINGS.hop
    masks = AudioChanges(time_mask=changes.time_mask, frequency_mask=changes.coefficient_mask)
    unmasked = draw_masks(torch.ones(count, frames, dtype=torch.bool), bins, rate, masks, generator)
    means = moved.mean((1, 2), keepdims=True).round().astype(np.uint8)
    return np.where(unmasked.bool().permute(0, 3, 1, 2).numpy(), moved, means)


def mean_of_clips(probabilities: np.ndarray, clips: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the clips' numbers ``[M]``, in order, and the mean ``[M, C]`` over the segments of each.

    Args:
        probabilities: ``[S, C]`` of segments.
        clips: clip of each segment, ``[S]``.
    """
    numbers, places = np.unique(clips, return_inverse=True)
    sums = np.zeros((len(numbers), probabilities.shape[1]))
    np.add.at(sums, places, probabilities)
    return numbers, sums / np.bincount(places)[:, None]
