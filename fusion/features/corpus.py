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
        lengths: ``[N]`` vectors of each clip; 0 for a clip that has none.
        times: ``[ΣT]`` seconds of each vector, in its clip.
    """

    values: np.ndarray
    lengths: np.ndarray
    times: np.ndarray

    @classmethod
    def of(cls, parts: Iterable[np.ndarray | None]) -> Sequences:
        """Of each clip's ``[T, D]``, or None, spread evenly over one second; at least one must be there."""
        parts = list(parts)
        lengths = np.array([0 if part is None else len(part) for part in parts], dtype=np.int64)
        values = np.concatenate([part for part in parts if part is not None])
        return cls(values, lengths, np.concatenate([spread(count) for count in lengths]))

    @property
    def features(self) -> int:
        """D."""
        return int(self.values.shape[1])

    @property
    def starts(self) -> np.ndarray:
        """``[N]`` where each clip's vectors begin in ``values``."""
        return np.cumsum(self.lengths) - self.lengths

    def frames_of(self, clips: np.ndarray) -> np.ndarray:
        """Whether each of the ΣT vectors is of one of ``clips`` (indices)."""
        return np.repeat(np.isin(np.arange(len(self.lengths)), clips), self.lengths)


@dataclass(frozen=True, eq=False)
class Corpus:
    """N clips with their streams.

    Attributes:
        clips: the clips, in the store's order.
        streams: ``visual``, ``audio`` or both.
        segments: which frames of the visual stream are each segment of the sound, where that is cut into
            segments.
        status: what each clip has, as :class:`.Scores` say it; empty where it is not known.
        empty: indices of the clips that have nothing to score.
        alone: of several streams: status and empty clips for a head that reads only the one.
    """

    clips: tuple[Clip, ...]
    streams: Mapping[str, Sequences]
    segments: SegmentFeatures | None = None
    status: tuple[str, ...] = ()
    empty: tuple[int, ...] = ()
    alone: Mapping[str, tuple[tuple[str, ...], tuple[int, ...]]] = field(default_factory=dict)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of all classes that occur, sorted."""
        return tuple(sorted({clip.label for clip in self.clips if clip.label is not None}))

    @property
    def labelled(self) -> np.ndarray:
        """Indices of the clips whose class is known."""
        return np.flatnonzero([clip.label is not None for clip in self.clips])

    @property
    def typical_seconds(self) -> float:
        """How long its clips are, in the median: to where their last vectors end; 0 if that is not known."""
        parts = [np.split(stream.times, stream.starts[1:]) for stream in self.streams.values()]
        ends = [max(map(end_of, clip)) for clip in zip(*parts, strict=True)]
        return float(np.median([end for end in ends if end > 0] or [0.0]))

    def of_split(self, *splits: str) -> np.ndarray:
        """Indices of the clips of these splits."""
        return np.flatnonzero([clip.split in splits for clip in self.clips])

    def targets(self, classes: Sequence[str]) -> np.ndarray:
        """``[N]`` index in ``classes`` of each clip's class, -1 where it is not known or not among them."""
        places = {name: i for i, name in enumerate(classes)}
        return np.array([places.get(clip.label or "", -1) for clip in self.clips], dtype=np.int64)

    def only(self, streams: Sequence[str]) -> Corpus:
        """As a head sees it that reads these streams alone."""
        if {*streams} >= self.streams.keys():
            return self
        (name,) = streams
        status, empty = self.alone[name]
        return replace(self, streams={name: self.streams[name]}, status=status, empty=empty, alone={})

    def scores(self, classes: Sequence[str], values: np.ndarray) -> Scores:
        """Probabilities ``[N, C]`` with the names of clips and classes; a foreign class counts as unknown.

        What a head says of a clip that has nothing to score is left out.
        """
        truth = tuple(clip.label if clip.label in classes else None for clip in self.clips)
        values = values.copy()
        values[list(self.empty)] = np.nan
        keys = tuple(clip.key for clip in self.clips)
        return Scores(keys, tuple(classes), values, truth, status=self.status)


def fitted_and_watched(corpus: Corpus, fit_on: str) -> tuple[np.ndarray, np.ndarray]:
    """Which clips to fit and which to watch while fitting (indices).

    ``train`` fits the labelled clips of that split and watches those of ``val``; ``train+val`` fits
    both and watches none. Where all clips are of one split, its labelled ones are fitted.

    Raises:
        FusionError: there are no such clips, or they are of fewer than two classes.
    """
    splits = sorted({clip.split for clip in corpus.clips})
    wanted = splits if len(splits) == 1 else fit_on.split("+")
    if not {*wanted} <= {*splits}:
        raise FusionError(
            f"the clips are of the splits {', '.join(splits)}, so {fit_on!r} cannot be fitted; name the "
            "splits so in the manifest, or cross-validate over all clips: avemo-fuse cv"
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
    """A clip to be read, or a part of one."""

    @property
    def clip(self) -> Clip:
        """What it is called, and what is known of it."""

    def vectors(self, feature: Feature) -> Vectors | None:
        """Its values; None where it has none."""

    def has_face(self, times: np.ndarray) -> np.ndarray:
        """``[T]`` whether its face was found in the frame nearest to each time; where faces were not looked
        for (imported features, markers), there is one in all.
        """

    @property
    def seen(self) -> bool:
        """Whether its face was found in any frame, or not looked for."""

    @property
    def silent(self) -> bool:
        """Whether its sound is digital silence."""

    @property
    def failed(self) -> bool:
        """Whether something of it could not be read."""


@dataclass(frozen=True)
class StoredClip:
    """A clip of a store."""

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
    """The frames of a clip with its face: their ``times`` ``[T]`` in seconds, and ``found`` ``[T]``."""

    times: np.ndarray
    found: np.ndarray

    def near(self, times: np.ndarray) -> np.ndarray:
        """Whether it was in the frame nearest to each of ``times``."""
        return np.asarray(self.found[nearest(self.times, times)])


def faces_of(store: FeatureStore, row: Row) -> FaceTimes | None:
    """A clip's faces; None where they were not looked for.

    Raises:
        StoreError: an array is damaged.
    """
    if not row.has("faces") or "has_face" not in row.entries["faces"].arrays:
        return None
    arrays = store.read(row, "faces", ["times", "has_face"])
    return FaceTimes(arrays["times"], arrays["has_face"])


def is_silent(store: FeatureStore, row: Row) -> bool:
    """Whether a clip's sound is digital silence: its log-Mel values are all at the floor.

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
        store: an opened store.
        features: what to read.
        rows: the clips.
        dimensions: D of each, where it is known; without, one clip at least must have the feature.

    Raises:
        StoreError: an array is damaged.
        FusionError: no clip has a stream, or a clip's values cannot be used.
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
    """The status of each clip, and the places of those that have nothing to score."""
    found = [
        _outcome(source, {name: bool(has[i]) for name, has in given.items()})
        for i, source in enumerate(sources)
    ]
    return tuple(status for status, _ in found), tuple(i for i, (_, empty) in enumerate(found) if empty)


def _outcome(source: SequenceSource, given: Mapping[str, bool]) -> tuple[str, bool]:
    """A clip's status for a head of these streams, true where it has vectors; and whether it has nothing to
    score.

    Faces alone are scored on whole frames where no face is found, as in the papers; with the sound, a clip
    that has neither a face nor a sound is not.
    """
    lacking = [NO_FACE] if VISUAL in given and not (given[VISUAL] and source.seen) else []
    if AUDIO in given and (not given[AUDIO] or source.silent):
        lacking.append(NO_SOUND)
    if not any(given.values()) and source.failed:
        return FAILED, True
    empty = len(lacking) == len(given) and (AUDIO in given or not any(given.values()))
    return ", ".join(lacking) or OK, empty


def end_of(times: np.ndarray) -> float:
    """Where the last of rising ``times`` ends, if it lasts as long as they mostly do; 0 of none.

    A single one is the middle of its clip, as that of functionals.
    """
    if not len(times):
        return 0.0
    return float(times[-1] + (np.median(np.diff(times)) if len(times) > 1 else times[0]))


def spread(count: int, start: float = 0.0, end: float = 1.0) -> np.ndarray:
    """``[count]`` seconds: the middles of equal parts of the time from ``start`` to ``end``."""
    return np.linspace(start, end, 2 * count + 1)[1::2]


def _span(known: Iterable[np.ndarray | None]) -> tuple[float, float]:
    """The first and the last of a clip's times, as far as its streams know them; 0 and 1 where none does."""
    times = [stream for stream in known if stream is not None]
    return (min(map(np.min, times)), max(map(np.max, times))) if times else (0.0, 1.0)


def _timed(
    sequences: Sequences, known: Sequence[np.ndarray | None], spans: Sequence[tuple[float, float]]
) -> Sequences:
    """With each clip's times; where nothing tells them, they are spread over those of the other stream."""
    clips = zip(sequences.lengths, known, spans, strict=True)
    times = [spread(count, *span) if own is None else own for count, own, span in clips]
    return replace(sequences, times=np.concatenate(times))
