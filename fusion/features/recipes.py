"""Named features: the inputs of heads, computed from the statistics in a store when they are read.

A visual stream ``BACKBONE/VIEWSET`` holds ``basic`` (features of the chip itself) and, if the view set has
several views, ``mean`` and ``std`` over the V transformed views of each frame, ``[T, D]`` each. All features
of zhou2019 table 3 are computed from these, so they need not be stored.

A feature is written ``NAME`` or ``NAME:BACKBONE`` (``f-ar-mean:A+B``). BACKBONE may be any unique prefix of
a backbone in the store, and may be omitted if there is only one.
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
SILENCE_DB = 30.0  # below the loudest frame; trimming silence at both ends raises accuracy (docs/results.md)
DESCRIPTORS = ("f0", "voice", "level", "loudness", "spectrum", "mfcc")  # inputs of functionals
_LEVEL = DESCRIPTORS.index("level")
DB_PER_NEPER = 10 / np.log(10)  # for power


def joined(*arrays: np.ndarray) -> np.ndarray:
    """Concatenate ``[T, D]`` arrays along D."""
    return np.concatenate(arrays, axis=-1)


def flat(array: np.ndarray) -> np.ndarray:
    """Flatten ``[T, ...]`` to ``[T, D]``."""
    return array.reshape(len(array), -1)


def norm_fft(basic: np.ndarray) -> np.ndarray:
    """Compute F-NormFFT (zhou2019 §3.4): the normalised DFT of each frame's D values, ``[real : imaginary]``.

    The DFT of real values is conjugate-symmetric, so half of it is redundant: the second half of each part
    repeats the first up to sign. The paper's 2D form is kept.

    Args:
        basic: ``[T, D]``.

    Returns:
        ``[T, 2D]``, each row of Euclidean norm 1 (or 0 if the frame is all zeros).
    """
    spectrum = np.fft.fft(basic, axis=-1)
    parts = joined(spectrum.real, spectrum.imag)
    norm = np.linalg.norm(parts, axis=-1, keepdims=True)
    return parts / np.where(norm == 0, 1, norm)


def spoken(decibels: np.ndarray) -> slice:
    """Return the frames from the first to the last within 30 dB of the loudest one.

    Silence at both ends is trimmed; pauses are kept.

    Args:
        decibels: ``[T, F]`` power in frequency bands.
    """
    loudness = np.logaddexp.reduce(decibels / DB_PER_NEPER, axis=1) * DB_PER_NEPER
    (loud,) = np.nonzero(loudness >= loudness.max() - SILENCE_DB)
    return slice(loud[0], loud[-1] + 1)


def windows(frames: np.ndarray) -> np.ndarray:
    """Compute mean and standard deviation over windows of 64 frames every 32; the last is flush with the end.

    Args:
        frames: ``[T, D]``; fewer than 64 frames make one window.

    Returns:
        ``[n, 2D]``: ``[mean : std]`` of each window.
    """
    cut = [frames[start : start + WINDOW] for start in window_starts(len(frames))]
    return np.stack([joined(part.mean(axis=0), part.std(axis=0)) for part in cut])


def window_starts(frames: int) -> list[int]:
    """Return the first frame of each of the :func:`windows` over this number of frames."""
    last = max(0, frames - WINDOW)
    return sorted({*range(0, last + 1, HOP), last})


def window_middles(frames: int) -> np.ndarray:
    """Return the middle of each of the :func:`windows`, which may lie between two frames."""
    return np.array(window_starts(frames)) + (min(WINDOW, frames) - 1) / 2


def middle(frames: int) -> np.ndarray:
    """Return the middle of this number of frames, which may lie between two."""
    return np.array([(frames - 1) / 2])


def whole(*arrays: np.ndarray) -> slice:
    """Return the slice of all frames."""
    return slice(0, len(arrays[0]))


def log_mel_spoken(log_mel: np.ndarray) -> slice:
    """Return the :func:`spoken` part of a log-Mel spectrogram ``[T, 3, 40]`` (in nepers)."""
    return spoken(log_mel[:, 0] * DB_PER_NEPER)


def descriptors_spoken(*descriptors: np.ndarray) -> slice:
    """Return the :func:`spoken` part of :data:`DESCRIPTORS`."""
    return spoken(descriptors[_LEVEL])


def log_mel_windows(log_mel: np.ndarray) -> np.ndarray:
    """Apply :func:`windows` to a log-Mel spectrogram ``[T, 3, 40]``."""
    return windows(flat(log_mel))


def speech_functionals(*descriptors: np.ndarray) -> np.ndarray:
    """Compute :func:`.functionals.functionals` of :data:`DESCRIPTORS` as one vector, ``[1, D]``."""
    return functionals(*descriptors)[None]


def coefficient_statistics(images: np.ndarray) -> np.ndarray:
    """Compute mean and standard deviation over the frames of MFCC images, a feature without a network.

    Args:
        images: ``[S, 64, 64, 3]``: coefficients, frames, and channels MFCC, Δ, ΔΔ (priyasad2019 §3.2).

    Returns:
        ``[S, 384]``: ``[mean : std]`` of each coefficient and channel.
    """
    values = images.astype(np.float32)
    return joined(flat(values.mean(axis=2)), flat(values.std(axis=2)))


def every(frames: int) -> np.ndarray:
    """Return the index of each frame."""
    return np.arange(frames)


@dataclass(frozen=True)
class FeatureRecipe:
    """How to compute one named feature.

    Attributes:
        modality: ``visual`` or ``audio``.
        streams: regular expressions of usable streams, preferred ones first; the group is the backbone's
            label, empty for streams without a backbone.
        arrays: arrays to read from a stream, ``[T, ...]`` each.
        derive: maps these arrays, of one backbone after the other, to ``[n, D]``.
        extract: avemo-extract options that store the inputs; empty if they are always stored for clips that
            have them.
        backbones: number of backbones that the feature joins.
        part: maps the arrays to the slice of frames that is passed to ``derive``.
        places: maps the number of frames in that slice to the frame position of each vector, ``[n]``.
        channels: channels of features that an encoder can read as an image, ``[n, channels × bins]``; 0 for
            other features.
        gaps: whether values may be NaN (unknown); standardisation replaces them by the training clips' mean.
        segments: whether each vector describes a segment, with start and end in the stream's times.
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
    """One clip's feature.

    Attributes:
        values: ``[n, D]`` float32.
        times: ``[n]`` seconds; None if unknown.
        spans: ``[n, 2]`` start and end in seconds if vectors describe segments, else None.
    """

    values: np.ndarray
    times: np.ndarray | None
    spans: np.ndarray | None = None


class StoredArrays(NamedTuple):
    """Stored inputs of one clip's feature.

    Attributes:
        arrays: ``[T, ...]`` each.
        times: ``[T]`` seconds, ``[T, 2]`` for segments; None if unknown.
    """

    arrays: Sequence[np.ndarray]
    times: np.ndarray | None

    def take(self, places: np.ndarray, start: float) -> StoredArrays:
        """Select the rows at ``places`` (indices); times are counted from ``start``."""
        times = None if self.times is None else self.times[places] - start
        return StoredArrays([array[places] for array in self.arrays], times)


@dataclass(frozen=True)
class Feature:
    """A named feature of one store: its recipe, and the streams to compute it from."""

    name: str
    streams: tuple[str, ...]

    @property
    def recipe(self) -> FeatureRecipe:
        """The recipe of this feature."""
        return recipe_of(self.name)

    def keys(self, store: FeatureStore, rows: Sequence[Row]) -> dict[str, FeatureKey]:
        """Return the key of each stream.

        Raises:
            StoreError: no clip of ``rows`` has a stream, or clips have different keys.
        """
        return {stream: store.key(stream, rows) for stream in self.streams}

    def read(self, store: FeatureStore, row: Row) -> np.ndarray | None:
        """Return only the values of :meth:`vectors`."""
        vectors = self.vectors(store, row)
        return vectors and vectors.values

    def vectors(self, store: FeatureStore, row: Row) -> Vectors | None:
        """Return the values of one clip with their times; None if it has none (for example, no sound).

        Raises:
            StoreError: an array is damaged or missing.
            FusionError: backbones saw different frames, or a value is not finite.
        """
        stored = self.stored(store, row)
        return stored and self.derived(stored, row.clip)

    def stored(self, store: FeatureStore, row: Row) -> StoredArrays | None:
        """Read the inputs of :meth:`vectors`; None if the clip has none.

        Imported features may have rows of NaN (frames without a vector); these rows are dropped.

        Raises:
            StoreError: an array is damaged or missing.
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
        """Compute the vectors from the stored arrays of a clip or a part of it; None if they are empty.

        Raises:
            FusionError: a value is not finite; the message names ``clip``.
        """
        arrays, times = stored
        if not len(arrays[0]):
            return None
        part = self.recipe.part(*arrays)
        values = np.asarray(self.recipe.derive(*(array[part] for array in arrays)), dtype=np.float32)
        if np.isinf(values).any() or (np.isnan(values).any() and not self.recipe.gaps):
            raise FusionError(
                f"{self.name} of clip {clip} has values that are not finite; "
                "extract it again, with --precision fp32 if you used another"
            )
        if times is not None and self.recipe.segments:
            return Vectors(values, times.mean(axis=1), times)
        if times is not None:
            places = part.start + self.recipe.places(part.stop - part.start)
            times = np.interp(places, np.arange(len(times)), times)
        return Vectors(values, times)


def recipe_of(name: str) -> FeatureRecipe:
    """Return the recipe of a feature ``NAME`` or ``NAME:BACKBONE``.

    Raises:
        FusionError: there is no such feature.
    """
    name = name.partition(":")[0]
    if name not in RECIPES:
        raise FusionError(f"there is no feature {name!r}; there are {', '.join(RECIPES)}")
    return RECIPES[name]


def find(
    store: FeatureStore, modality: str, text: str, among: Sequence[str] = (), parts: bool = False
) -> Feature:
    """Resolve the name of a feature to a feature of ``store``.

    Args:
        store: an open store.
        modality: ``visual`` or ``audio``.
        text: ``NAME``, ``NAME:BACKBONE``, or ``auto`` for the best feature that the store holds.
        among: names of allowed features, best first; all of the modality if empty.
        parts: whether clips will be cut into parts; ``auto`` then skips features with one vector per clip.

    Raises:
        FusionError: the feature does not exist or is ambiguous, or the store lacks its inputs; the message
            says how to get them.
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
            f"{text!r} is ambiguous: {store.path} holds {name} of {', '.join(streams)}; "
            f"name {'one' if recipe.backbones == 1 else 'two'}, as in {example}"
        )
    label = "+".join(labels)
    return Feature(f"{name}:{label}" if label else name, tuple(streams[label] for label in labels))


def _held(recipe: FeatureRecipe, counts: Mapping[str, int]) -> dict[str, str]:
    """Return label → stream; of several streams, the one that most clips have, then the preferred one."""
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
    """Yield every way to cut ``text`` at a plus sign, since a label may itself contain one (FER+)."""
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
            f"{needed}, only the inputs from {', '.join(streams)}; `{call} --backbone ANOTHER@WEIGHTS`, with "
            "other options as before, adds a second"
        )
    return f"{needed}; it holds {held}. `{call} --backbone A --backbone B` adds it"
