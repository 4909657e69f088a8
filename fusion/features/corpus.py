"""Loads the clips of a store into memory, for training and prediction."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np

from ...cache.clips import Clip
from ...cache.rows import Row
from ...cache.store import FeatureStore
from ..errors import FusionError, NotHeld
from ..evaluation.scores import FAILED, NO_FACE, NO_SOUND, OK, Scores
from .recipes import AUDIO, VISUAL, Feature, Vectors
from .segments import SegmentFeatures, nearest, segments_of


@dataclass(frozen=True, eq=False)
class Sequences:
    """One stream of N clips, with all vectors concatenated.

    Attributes:
        values: ``[ΣT, D]`` float32.
        lengths: ``[N]`` number of vectors of each clip, 0 or more.
        times: ``[ΣT]`` seconds of each vector within its clip.
    """

    values: np.ndarray
    lengths: np.ndarray
    times: np.ndarray

    @classmethod
    def of(cls, parts: Iterable[np.ndarray | None]) -> Sequences:
        """Concatenate each clip's ``[T, D]`` or None, at least one array; times are spread over 0 to 1 s."""
        parts = list(parts)
        lengths = np.array([0 if part is None else len(part) for part in parts], dtype=np.int64)
        values = np.concatenate([part for part in parts if part is not None])
        return cls(values, lengths, np.concatenate([spread(count) for count in lengths]))

    @property
    def features(self) -> int:
        """Number of features, D."""
        return int(self.values.shape[1])

    @property
    def starts(self) -> np.ndarray:
        """``[N]`` index of each clip's first vector in ``values``."""
        return np.cumsum(self.lengths) - self.lengths

    def frames_of(self, clips: np.ndarray) -> np.ndarray:
        """Return a mask ``[ΣT]`` of the vectors that belong to ``clips`` (indices)."""
        return np.repeat(np.isin(np.arange(len(self.lengths)), clips), self.lengths)


@dataclass(frozen=True, eq=False)
class Corpus:
    """N clips with their streams.

    Attributes:
        clips: the clips, in the store's order.
        streams: ``visual``, ``audio`` or both.
        segments: frames of the visual stream for each segment of the sound, if the sound is cut into
            segments.
        status: status of each clip, as in :class:`.Scores`; empty if unknown.
        empty: indices of the clips with nothing to score.
        alone: stream → ``status`` and ``empty`` for a head that reads only that stream; empty if there is
            one stream.
    """

    clips: tuple[Clip, ...]
    streams: Mapping[str, Sequences]
    segments: SegmentFeatures | None = None
    status: tuple[str, ...] = ()
    empty: tuple[int, ...] = ()
    alone: Mapping[str, tuple[tuple[str, ...], tuple[int, ...]]] = field(default_factory=dict)

    @property
    def classes(self) -> tuple[str, ...]:
        """Sorted names of all classes that occur."""
        return tuple(sorted({clip.label for clip in self.clips if clip.label is not None}))

    @property
    def labelled(self) -> np.ndarray:
        """Indices of the clips with a known class."""
        return np.flatnonzero([clip.label is not None for clip in self.clips])

    @property
    def typical_seconds(self) -> float:
        """Median length of the clips in seconds, up to the end of their last vectors; 0 if unknown."""
        parts = [np.split(stream.times, stream.starts[1:]) for stream in self.streams.values()]
        ends = [max(map(end_of, clip)) for clip in zip(*parts, strict=True)]
        return float(np.median([end for end in ends if end > 0] or [0.0]))

    def of_split(self, *splits: str) -> np.ndarray:
        """Return the indices of the clips of these splits."""
        return np.flatnonzero([clip.split in splits for clip in self.clips])

    def targets(self, classes: Sequence[str]) -> np.ndarray:
        """Return ``[N]`` indices into ``classes``, -1 for an unknown class or one not in ``classes``."""
        places = {name: i for i, name in enumerate(classes)}
        return np.array([places.get(clip.label or "", -1) for clip in self.clips], dtype=np.int64)

    def only(self, streams: Sequence[str]) -> Corpus:
        """Return the corpus as seen by a head that reads only these streams."""
        if {*streams} >= self.streams.keys():
            return self
        (name,) = streams
        status, empty = self.alone[name]
        return replace(self, streams={name: self.streams[name]}, status=status, empty=empty, alone={})

    def scores(self, classes: Sequence[str], values: np.ndarray) -> Scores:
        """Wrap probabilities ``[N, C]`` as :class:`.Scores`.

        A label outside ``classes`` counts as unknown. Clips with nothing to score get NaN.
        """
        truth = tuple(clip.label if clip.label in classes else None for clip in self.clips)
        values = values.copy()
        values[list(self.empty)] = np.nan
        keys = tuple(clip.key for clip in self.clips)
        return Scores(keys, tuple(classes), values, truth, status=self.status)


def fitted_and_watched(corpus: Corpus, fit_on: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the indices of the clips to fit, and of those to watch (validate on) while fitting.

    ``train`` fits the labelled clips of that split and watches those of ``val``; ``train+val`` fits
    both and watches none. If all clips are in one split, its labelled clips are fitted.

    Raises:
        FusionError: a split is missing, or the labelled clips have fewer than two classes.
    """
    splits = sorted({clip.split for clip in corpus.clips})
    wanted = splits if len(splits) == 1 else fit_on.split("+")
    if not {*wanted} <= {*splits}:
        raise FusionError(
            f"the clips are in the splits {', '.join(splits)}, so {fit_on!r} cannot be fitted; rename the "
            "splits in the manifest, or cross-validate over all clips: avemo-fuse cv"
        )
    fit = np.intersect1d(corpus.of_split(*wanted), corpus.labelled)
    classes = {corpus.clips[i].label for i in fit}
    if len(classes) < 2:
        raise FusionError(
            f"{len(fit)} labelled clips of {len(classes)} classes in {' and '.join(wanted)}; clips of two or "
            "more classes are needed: put them in class folders, or give a manifest with a label column"
        )
    others = [] if "val" in wanted else ["val"]
    return fit, np.intersect1d(corpus.of_split(*others), corpus.labelled)


class SequenceSource(Protocol):
    """A clip, or a part of one, whose features can be read."""

    @property
    def clip(self) -> Clip:
        """The clip's id, split, label and subject."""

    def vectors(self, feature: Feature) -> Vectors | None:
        """Return the values of a feature; None if the clip has none."""

    def has_face(self, times: np.ndarray) -> np.ndarray:
        """Return ``[T]``: whether a face was found in the frame nearest to each time.

        All true if no face detector ran (imported features, markers).
        """

    @property
    def seen(self) -> bool:
        """Whether a face was found in any frame, or no face detector ran."""

    @property
    def silent(self) -> bool:
        """Whether the sound is digital silence."""

    @property
    def failed(self) -> bool:
        """Whether a part of the clip could not be read."""


@dataclass(frozen=True)
class StoredClip:
    """A clip in a store."""

    store: FeatureStore
    row: Row

    @property
    def clip(self) -> Clip:
        return self.row.clip

    def vectors(self, feature: Feature) -> Vectors | None:
        return feature.vectors(self.store, self.row)

    def has_face(self, times: np.ndarray) -> np.ndarray:
        faces = faces_of(self.store, self.row)
        return np.ones(len(times), dtype=bool) if faces is None else faces.near(times)

    @property
    def seen(self) -> bool:
        return self.row.has_face or not self.row.has("faces")

    @property
    def silent(self) -> bool:
        return is_silent(self.store, self.row)

    @property
    def failed(self) -> bool:
        return bool(self.row.failures) or not self.row.entries


@dataclass(frozen=True, eq=False)
class FaceTimes:
    """Face detections of a clip.

    Attributes:
        times: ``[T]`` seconds of the frames.
        found: ``[T]`` whether a face was found.
    """

    times: np.ndarray
    found: np.ndarray

    def near(self, times: np.ndarray) -> np.ndarray:
        """Return whether a face was found in the frame nearest to each of ``times``."""
        return np.asarray(self.found[nearest(self.times, times)])


def faces_of(store: FeatureStore, row: Row) -> FaceTimes | None:
    """Return a clip's face detections; None if no face detector ran.

    Raises:
        StoreError: an array is damaged.
    """
    if not row.has("faces") or "has_face" not in row.entries["faces"].arrays:
        return None
    arrays = store.read(row, "faces", ["times", "has_face"])
    return FaceTimes(arrays["times"], arrays["has_face"])


def is_silent(store: FeatureStore, row: Row) -> bool:
    """Return whether a clip's sound is digital silence (all log-Mel values are at the floor).

    Raises:
        StoreError: an array is damaged.
    """
    if not row.has("logmel"):
        return False
    log_mel = store.read(row, "logmel", ["logmel"])["logmel"]
    return bool(len(log_mel)) and float(np.ptp(log_mel[:, 0])) == 0.0


def load(
    store: FeatureStore,
    features: Mapping[str, Feature],
    rows: Sequence[Row],
    dimensions: Mapping[str, int] | None = None,
) -> Corpus:
    """Read ``features`` (``visual``, ``audio``) of all ``rows``.

    Args:
        store: an open store.
        features: stream → feature to read.
        rows: the clips.
        dimensions: D of each feature if known; without it, at least one clip must have the feature.

    Raises:
        StoreError: an array is damaged.
        FusionError: no clip has one of the features, or a clip's values are unusable.
    """
    return gathered(features, [StoredClip(store, row) for row in rows], dimensions)


def gathered(
    features: Mapping[str, Feature],
    sources: Sequence[SequenceSource],
    dimensions: Mapping[str, int] | None = None,
) -> Corpus:
    """Read ``features`` of all ``sources``; see :func:`load`."""
    streams, times, spans = {}, {}, {}
    for name, feature in features.items():
        vectors = [source.vectors(feature) for source in sources]
        parts = [part and part.values for part in vectors]
        if dimensions:
            nothing = np.empty((0, dimensions[name]), dtype=np.float32)
            parts = [nothing if part is None else part for part in parts]
        if all(part is None for part in parts):
            raise NotHeld(
                f"none of {len(sources)} clips has {feature.name}; use a head for the other stream: "
                "`--fusion faces` without sound, `--fusion audio` without pictures"
            )
        streams[name] = Sequences.of(parts)
        times[name] = [part and part.times for part in vectors]
        spans[name] = [part and part.spans for part in vectors]
    whole = [_span(known) for known in zip(*times.values(), strict=True)]
    timed = {name: _timed(sequences, times[name], whole) for name, sequences in streams.items()}
    segments = None
    if VISUAL in features and AUDIO in features and features[AUDIO].recipe.segments:
        frames = np.split(timed[VISUAL].times, timed[VISUAL].starts[1:])
        cuts = zip(sources, frames, spans[AUDIO], strict=True)
        segments = SegmentFeatures.of([segments_of(at, source.has_face(at), cut) for source, at, cut in cuts])
    given = {name: timed[name].lengths > 0 for name in timed}
    alone = {name: _outcomes(sources, {name: has}) for name, has in given.items()} if len(given) > 1 else {}
    clips = tuple(source.clip for source in sources)
    return Corpus(clips, timed, segments, *_outcomes(sources, given), alone)


def _outcomes(
    sources: Sequence[SequenceSource], given: Mapping[str, np.ndarray]
) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Return the status of each clip, and the indices of the clips with nothing to score."""
    found = [
        _outcome(source, {name: bool(has[i]) for name, has in given.items()})
        for i, source in enumerate(sources)
    ]
    return tuple(status for status, _ in found), tuple(i for i, (_, empty) in enumerate(found) if empty)


def _outcome(source: SequenceSource, given: Mapping[str, bool]) -> tuple[str, bool]:
    """Return a clip's status for a head of these streams, and whether there is nothing to score.

    A head that reads faces alone scores whole frames if no face is found, as in the papers. A head that reads
    the sound does not score a clip that lacks all of its streams.

    Args:
        source: the clip.
        given: stream → whether the clip has vectors.
    """
    lacking = [NO_FACE] if VISUAL in given and not (given[VISUAL] and source.seen) else []
    if AUDIO in given and (not given[AUDIO] or source.silent):
        lacking.append(NO_SOUND)
    if not any(given.values()) and source.failed:
        return FAILED, True
    empty = len(lacking) == len(given) and (AUDIO in given or not any(given.values()))
    return ", ".join(lacking) or OK, empty


def end_of(times: np.ndarray) -> float:
    """Return the end of the last of rising ``times`` in seconds, from their median spacing; 0 if empty.

    A single time is taken as the middle of its clip, as for functionals.
    """
    if not len(times):
        return 0.0
    return float(times[-1] + (np.median(np.diff(times)) if len(times) > 1 else times[0]))


def spread(count: int, start: float = 0.0, end: float = 1.0) -> np.ndarray:
    """Return the middles of ``count`` equal parts of the time from ``start`` to ``end`` (seconds)."""
    return np.linspace(start, end, 2 * count + 1)[1::2]


def _span(known: Iterable[np.ndarray | None]) -> tuple[float, float]:
    """Return the first and last time of a clip over streams with known times; 0 and 1 if there are none."""
    times = [stream for stream in known if stream is not None]
    return (min(map(np.min, times)), max(map(np.max, times))) if times else (0.0, 1.0)


def _timed(
    sequences: Sequences, known: Sequence[np.ndarray | None], spans: Sequence[tuple[float, float]]
) -> Sequences:
    """Set each clip's times; unknown times are spread over the time span of the other stream."""
    clips = zip(sequences.lengths, known, spans, strict=True)
    times = [spread(count, *span) if own is None else own for count, own, span in clips]
    return replace(sequences, times=np.concatenate(times))
