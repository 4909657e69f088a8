"""Named features: the inputs of heads, computed when read from the statistics in a store.

A visual stream ``BACKBONE/VIEWSET`` holds ``basic`` (the chip itself) and, for view sets of many
views, ``mean`` and ``std`` over the V transformed views of each frame, ``[T, D]`` each. All of
zhou2019 table 3 is made of these, so nothing below is ever stored.

A feature is written ``NAME`` or ``NAME:BACKBONE`` (``f-ar-mean:A+B``); BACKBONE may be any beginning
that only one of the store's backbones has, and is left out where there is but one.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import NamedTuple

import numpy as np

from ...cache.keys import FeatureKey
from ...cache.rows import Row
from ...cache.store import FeatureStore
from ..errors import FusionError, NotHeld
from .functionals import functionals
from .times import times_of

VISUAL, AUDIO = "visual", "audio"
WINDOW, HOP = 64, 32  # log-Mel or spectrogram frames of 10 ms
SILENCE_DB = (
    30.0  # below the loudest frame; without the silence at its ends a clip is told better (docs/results.md)
)
DESCRIPTORS = ("f0", "voice", "level", "loudness", "spectrum", "mfcc")  # what functionals are made of
_LEVEL = DESCRIPTORS.index("level")
DB_PER_NEPER = 10 / np.log(10)  # of power


def joined(*arrays: np.ndarray) -> np.ndarray:
    """``[T, D]`` arrays side by side."""
    return np.concatenate(arrays, axis=-1)


def flat(array: np.ndarray) -> np.ndarray:
    """``[T, ...]`` as ``[T, D]``."""
    return array.reshape(len(array), -1)


def norm_fft(basic: np.ndarray) -> np.ndarray:
    """F-NormFFT (zhou2019 §3.4): the DFT over a frame's own D values, as ``[real : imaginary]``.

    Half of it is redundant: the DFT of real values is conjugate-symmetric, so the later half of either
    part repeats the earlier one up to sign. It is kept in the paper's 2D form.

    Args:
        basic: ``[T, D]``.

    Returns:
        ``[T, 2D]``, each row of Euclidean length 1 (or 0, where the frame is all zeros).
    """
    spectrum = np.fft.fft(basic, axis=-1)
    parts = joined(spectrum.real, spectrum.imag)
    norm = np.linalg.norm(parts, axis=-1, keepdims=True)
    return parts / np.where(norm == 0, 1, norm)


def spoken(decibels: np.ndarray) -> slice:
    """From the first to the last frame that is within 30 dB of the loudest one: silence at both ends is
    left out, pauses are kept.

    Args:
        decibels: ``[T, F]`` power in frequency bands.
    """
    loudness = np.logaddexp.reduce(decibels / DB_PER_NEPER, axis=1) * DB_PER_NEPER
    (loud,) = np.nonzero(loudness >= loudness.max() - SILENCE_DB)
    return slice(loud[0], loud[-1] + 1)


def windows(frames: np.ndarray) -> np.ndarray:
    """Mean and standard deviation over windows of 64 frames every 32, the last flush with the end.

    Args:
        frames: ``[T, D]``; fewer than 64 frames are one window.

    Returns:
        ``[n, 2D]``: ``[mean : std]`` of each window.
    """
    cut = [frames[start : start + WINDOW] for start in window_starts(len(frames))]
    return np.stack([joined(part.mean(axis=0), part.std(axis=0)) for part in cut])


def window_starts(frames: int) -> list[int]:
    """The first frame of each of the :func:`windows` over so many frames."""
    last = max(0, frames - WINDOW)
    return sorted({*range(0, last + 1, HOP), last})


def window_middles(frames: int) -> np.ndarray:
    """The middle of each of the :func:`windows` over so many frames, which may lie between two."""
    return np.array(window_starts(frames)) + (min(WINDOW, frames) - 1) / 2


def middle(frames: int) -> np.ndarray:
    """The middle of so many frames, which may lie between two."""
    return np.array([(frames - 1) / 2])


def whole(*arrays: np.ndarray) -> slice:
    """All frames."""
    return slice(0, len(arrays[0]))


def log_mel_spoken(log_mel: np.ndarray) -> slice:
    """The :func:`spoken` part of a log-Mel spectrogram ``[T, 3, 40]`` (in nepers)."""
    return spoken(log_mel[:, 0] * DB_PER_NEPER)


def descriptors_spoken(*descriptors: np.ndarray) -> slice:
    """The :func:`spoken` part of :data:`DESCRIPTORS`."""
    return spoken(descriptors[_LEVEL])


def log_mel_windows(log_mel: np.ndarray) -> np.ndarray:
    """:func:`windows` over a log-Mel spectrogram ``[T, 3, 40]``."""
    return windows(flat(log_mel))


def speech_functionals(*descriptors: np.ndarray) -> np.ndarray:
    """:func:`.functionals.functionals` of :data:`DESCRIPTORS`, as one vector."""
    return functionals(*descriptors)[None]


def coefficient_statistics(images: np.ndarray) -> np.ndarray:
    """What an MFCC image says without a network: mean and standard deviation over its frames.

    Args:
        images: ``[S, 64, 64, 3]``: coefficients, frames, and MFCC, Δ, ΔΔ (priyasad2019 §3.2).

    Returns:
        ``[S, 384]``: ``[mean : std]`` of each coefficient and channel.
    """
    values = images.astype(np.float32)
    return joined(flat(values.mean(axis=2)), flat(values.std(axis=2)))


def every(frames: int) -> np.ndarray:
    """The number of each frame."""
    return np.arange(frames)


@dataclass(frozen=True)
class FeatureRecipe:
    """How one named feature is made.

    Attributes:
        modality: ``visual`` or ``audio``.
        streams: regular expressions of the streams it can be made of, preferred ones first; the group
            is the backbone's label, empty for streams that need no backbone.
        arrays: what it reads of a stream, ``[T, ...]`` each.
        derive: those arrays, of one backbone after the other, to ``[n, D]``.
        extract: the options with which avemo-extract stores what it needs; empty: it always does, of clips
            that have it.
        backbones: how many it joins.
        part: those arrays to the part of the clip that ``derive`` gets of them.
        places: how many frames that part has to the frame in it that each vector is of, ``[n]``.
        channels: of what an encoder can read as an image, ``[n, channels × bins]``; 0 for what is none.
        gaps: whether a value may be NaN, not known; once standardised it is at the training clips' mean.
        segments: whether a vector is of a segment, which the stream's times give the start and end of.
    """

    name: str
    modality: str
    streams: tuple[str, ...]
    arrays: tuple[str, ...]
    derive: Callable[..., np.ndarray]
    extract: str
    backbones: int = 1
    part: Callable[..., slice] = whole
    places: Callable[[int], np.ndarray] = every
    channels: int = 0
    gaps: bool = False
    segments: bool = False


_ANY, _DEFAULT, _WIDE = (
    tuple(rf"(.+)/{name}" for name in sets) for sets in (("default", "none", "wide"), ("default",), ("wide",))
)

RECIPES: Mapping[str, FeatureRecipe] = {
    recipe.name: recipe
    for recipe in (
        FeatureRecipe("basic", VISUAL, _ANY, ("basic",), joined, "--tta none"),
        FeatureRecipe("f-mean", VISUAL, _DEFAULT, ("mean",), joined, "--tta meanstd"),
        FeatureRecipe("f-meanstd", VISUAL, _DEFAULT, ("mean", "std"), joined, "--tta meanstd"),
        FeatureRecipe("f-meanstd-2", VISUAL, _WIDE, ("mean", "std"), joined, "--tta meanstd2"),
        FeatureRecipe("f-normfft", VISUAL, _ANY, ("basic",), norm_fft, "--tta none"),
        FeatureRecipe("f-ar-mean", VISUAL, _DEFAULT, ("mean",), joined, "--tta meanstd", 2),
        FeatureRecipe("markers", VISUAL, ("()markers",), ("markers",), flat, "", channels=3, gaps=True),
        FeatureRecipe(
            "alexnet", AUDIO, (r"(alexnet(?:@.*)?)",), ("vectors",), joined, "--audio-backbone alexnet@FILE"
        ),
        FeatureRecipe(
            "alexnet-logmel",
            AUDIO,
            (r"(alexnet-logmel(?:@.*)?)",),
            ("vectors",),
            joined,
            "--audio-backbone alexnet-logmel@FILE",
        ),
        FeatureRecipe("logmel", AUDIO, ("()logmel",), ("logmel",), flat, "", channels=3),
        FeatureRecipe(
            "logmel-stats",
            AUDIO,
            ("()logmel",),
            ("logmel",),
            log_mel_windows,
            "",
            part=log_mel_spoken,
            places=window_middles,
        ),
        FeatureRecipe("spectrogram", AUDIO, ("()spectrogram",), ("spectrogram",), flat, "", channels=1),
        FeatureRecipe(
            "spectrogram-stats",
            AUDIO,
            ("()spectrogram",),
            ("spectrogram",),
            windows,
            "",
            part=spoken,
            places=window_middles,
        ),
        FeatureRecipe(
            "functionals",
            AUDIO,
            ("()descriptors",),
            DESCRIPTORS,
            speech_functionals,
            "",
            part=descriptors_spoken,
            places=middle,
            gaps=True,
        ),
        FeatureRecipe(
            "mfcc-vectors",
            AUDIO,
            (r"segments/(.+)",),
            ("vectors",),
            joined,
            "--segment-backbone NAME@FILE",
            segments=True,
        ),
        FeatureRecipe(
            "mfcc-stats",
            AUDIO,
            ("()segments",),
            ("image",),
            coefficient_statistics,
            "--segments",
            segments=True,
        ),
    )
}
AUTO = "auto"
BEST = {
    VISUAL: ("f-meanstd", "f-meanstd-2", "markers", "basic"),
    AUDIO: ("alexnet", "alexnet-logmel", "functionals", "logmel-stats", "spectrogram-stats"),
}


class Vectors(NamedTuple):
    """One clip's feature: ``values`` ``[n, D]`` float32; ``times`` ``[n]`` in seconds, where known; ``spans``
    ``[n, 2]``, in which seconds each begins and ends, where they are of segments.
    """

    values: np.ndarray
    times: np.ndarray | None
    spans: np.ndarray | None = None


class StoredArrays(NamedTuple):
    """What a store holds of one clip's feature: ``arrays`` ``[T, ...]``, and ``times`` in seconds where they
    are known, ``[T]``, or ``[T, 2]`` of segments.
    """

    arrays: Sequence[np.ndarray]
    times: np.ndarray | None

    def take(self, places: np.ndarray, start: float) -> StoredArrays:
        """Only what is at ``places`` (indices), its times counted from ``start`` on."""
        times = None if self.times is None else self.times[places] - start
        return StoredArrays([array[places] for array in self.arrays], times)


@dataclass(frozen=True)
class Feature:
    """A named feature of one store: a recipe, and the streams it is made of there."""

    name: str
    streams: tuple[str, ...]

    @property
    def recipe(self) -> FeatureRecipe:
        """How it is made."""
        return recipe_of(self.name)

    def keys(self, store: FeatureStore, rows: Sequence[Row]) -> dict[str, FeatureKey]:
        """What each stream was extracted with.

        Raises:
            StoreError: no clip of ``rows`` has a stream, or they were extracted in different ways.
        """
        return {stream: store.key(stream, rows) for stream in self.streams}

    def read(self, store: FeatureStore, row: Row) -> np.ndarray | None:
        """The values of :meth:`vectors` alone."""
        vectors = self.vectors(store, row)
        return vectors and vectors.values

    def vectors(self, store: FeatureStore, row: Row) -> Vectors | None:
        """The values of one clip with their times; None where it has none (no sound, say).

        Raises:
            StoreError: an array is damaged or not there.
            FusionError: backbones saw different frames, or a value is not finite.
        """
        stored = self.stored(store, row)
        return stored and self.derived(stored, row.clip)

    def stored(self, store: FeatureStore, row: Row) -> StoredArrays | None:
        """What :meth:`vectors` are made of; None where the clip has none.

        Imported features may have rows of NaN, frames without a vector: those are left out.

        Raises:
            StoreError: an array is damaged or not there.
            FusionError: backbones saw different frames.
        """
        if not all(row.has(stream) for stream in self.streams):
            return None
        arrays = [
            array for stream in self.streams for array in store.read(row, stream, self.recipe.arrays).values()
        ]
        frames = {len(array) for array in arrays}
        if len(frames) > 1:
            counts = " and ".join(str(len(array)) for array in arrays)
            raise FusionError(
                f"clip {row.clip} has {counts} frames in {', '.join(self.streams)}, which {self.name} joins; "
                "extract all backbones with the same --detector and --max-frames"
            )
        times = times_of(store, row, self.streams[0], *frames)
        if any(row.entries[stream].key.settings.get("imported") for stream in self.streams):
            given = np.logical_and.reduce([~np.isnan(array).all(axis=1) for array in arrays])
            arrays = [array[given] for array in arrays]
            times = times if times is None else times[given]
        return StoredArrays(arrays, times)

    def derived(self, stored: StoredArrays, clip: object) -> Vectors | None:
        """The vectors of what is stored of a clip, or of a part of that; None of nothing.

        Raises:
            FusionError: a value is not finite; the text names ``clip``.
        """
        arrays, times = stored
        if not len(arrays[0]):
            return None
        part = self.recipe.part(*arrays)
        values = np.asarray(self.recipe.derive(*(array[part] for array in arrays)), dtype=np.float32)
        if np.isinf(values).any() or (np.isnan(values).any() and not self.recipe.gaps):
            raise FusionError(
                f"{self.name} of clip {clip} has values that are not finite; "
                "extract it again, with --precision fp32 if it was another"
            )
        if times is not None and self.recipe.segments:
            return Vectors(values, times.mean(axis=1), times)
        if times is not None:
            places = part.start + self.recipe.places(part.stop - part.start)
            times = np.interp(places, np.arange(len(times)), times)
        return Vectors(values, times)


def recipe_of(name: str) -> FeatureRecipe:
    """The recipe of a feature ``NAME`` or ``NAME:BACKBONE``.

    Raises:
        FusionError: there is none.
    """
    name = name.partition(":")[0]
    if name not in RECIPES:
        raise FusionError(f"there is no feature {name!r}; there are {', '.join(RECIPES)}")
    return RECIPES[name]


def find(
    store: FeatureStore, modality: str, text: str, among: Sequence[str] = (), parts: bool = False
) -> Feature:
    """The feature that ``text`` names, as ``store`` can give it.

    Args:
        store: an opened store.
        modality: ``visual`` or ``audio``.
        text: ``NAME``, ``NAME:BACKBONE``, or ``auto``: the best that the store holds.
        among: names of those that can be read, best first; all of the modality if empty.
        parts: whether clips will be cut into parts; ``auto`` then passes over one vector a clip.

    Raises:
        FusionError: no such feature, or the store cannot give it; the text says what would.
    """
    name, _, wanted = text.partition(":")
    counts = Counter(stream for row in store for stream in row.entries if row.has(stream))
    if name == AUTO:
        best = among or [each for each in BEST[modality] if not (parts and RECIPES[each].places is middle)]
        held = [each for each in best if _held(RECIPES[each], counts)]
        name = held[0] if held else best[-1]
    names = [recipe.name for recipe in RECIPES.values() if recipe.modality == modality]
    if name not in names:
        raise FusionError(f"there is no {modality} feature {name!r}; there are {AUTO}, {', '.join(names)}")
    if among and name not in among:
        raise FusionError(f"the {modality} feature {name} cannot be read here; expected {' or '.join(among)}")
    recipe = RECIPES[name]
    streams = _held(recipe, counts)
    if len(streams) < recipe.backbones:
        raise NotHeld(_not_held(store, recipe, streams, counts))
    labels = _chosen(recipe, wanted, streams)
    if labels is None:
        example = f"{name}:{'+'.join(list(streams)[: recipe.backbones])}"
        raise FusionError(
            f"{text!r} does not say which: {store.path} holds {name} of {', '.join(streams)}; "
            f"name {'one' if recipe.backbones == 1 else 'two'} as in {example}"
        )
    label = "+".join(labels)
    return Feature(f"{name}:{label}" if label else name, tuple(streams[label] for label in labels))


def _held(recipe: FeatureRecipe, counts: Mapping[str, int]) -> dict[str, str]:
    """Label → stream; of several streams, the one that most clips have, then the preferred one."""
    best: dict[str, str] = {}
    for pattern in recipe.streams:
        for stream in sorted(counts):
            match = re.fullmatch(pattern, stream)
            if match and counts[stream] > counts.get(best.get(match[1], ""), 0):
                best[match[1]] = stream
    return best


def _chosen(recipe: FeatureRecipe, wanted: str, labels: Collection[str]) -> tuple[str, ...] | None:
    if not wanted:
        return tuple(labels) if len(labels) == recipe.backbones else None
    for parts in _split(wanted, recipe.backbones):
        found = [_matching(part, labels) for part in parts]
        if all(len(labels) == 1 for labels in found) and len(set(chain(*found))) == len(parts):
            return tuple(labels[0] for labels in found)
    return None


def _split(text: str, parts: int) -> Iterator[tuple[str, ...]]:
    """Every way to cut ``text`` at a plus sign; a label may have one of its own (FER+)."""
    if parts == 1:
        yield (text,)
    else:
        yield from ((text[:i], text[i + 1 :]) for i, letter in enumerate(text) if letter == "+")


def _matching(wanted: str, labels: Collection[str]) -> list[str]:
    return [wanted] if wanted in labels else [label for label in labels if label.startswith(wanted)]


def _not_held(
    store: FeatureStore, recipe: FeatureRecipe, streams: Collection[str], counts: Mapping[str, int]
) -> str:
    held = ", ".join(sorted(counts)) or "nothing"
    if not recipe.extract:
        lacking, fusion = ("sound", "faces") if recipe.modality == AUDIO else ("facial markers", "audio")
        return (
            f"{store.path} holds no {recipe.name}, so none of its clips has {lacking}; it holds {held}. "
            f"`--fusion {fusion}` needs none"
        )
    call = f"avemo-extract CLIPS --store {store.path} {recipe.extract}"
    if recipe.backbones == 1:
        return f"{store.path} holds no {recipe.name}; it holds {held}. `{call}` adds it"
    needed = f"{store.path} holds no {recipe.name} of {recipe.backbones} backbones"
    if streams:
        return (
            f"{needed}, only what it needs of {', '.join(streams)}; `{call} --backbone ANOTHER@WEIGHTS`, its "
            "other options as before, adds a second"
        )
    return f"{needed}; it holds {held}. `{call} --backbone A --backbone B` adds it"
