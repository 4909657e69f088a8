"""Scores a recording over time, in windows that are treated like training clips.

A window is a cut by time of what is stored of the recording: vectors whose time lies in it, counted from its
start. What a feature makes of a whole clip's sound (its spoken part, its functionals) it makes of the
window's. No network runs again, and what is stored is read once.

Three things differ from a file cut out and extracted anew, by little: slopes of log-Mel know the two frames
beyond each edge; AlexNet's picture is scaled by the recording's loudest moment and sees 0.3 s beyond; speech
is looked for (segments) in the recording, not in the window.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ...cache.clips import Clip
from ...cache.rows import Row
from ...cache.store import FeatureStore
from ..evaluation.scores import Scores
from ..training.runs import Run, mean_of_runs
from ..training.training import Member
from .corpus import SequenceSource, end_of, faces_of, gathered, is_silent
from .recipes import VISUAL, Feature, StoredArrays, Vectors
from .times import sound_seconds

SAME = 1e-6  # seconds
AT_ONCE = 64  # windows: an hour's would not fit into memory together


def window_spans(seconds: float, window: float, hop: float) -> np.ndarray:
    """``[n, 2]`` seconds in which windows begin and end, ``hop`` apart.

    The last one is flush with the end; where it would lie less than half a hop (or half a window) behind the
    one before it, that one goes on to the end instead. A recording no longer than a window is one.

    Args:
        seconds, window, hop: of the recording, of a window, and from one's start to the next; > 0 each.
    """
    last = max(0.0, seconds - window)
    starts = hop * np.arange(int(last / hop + SAME) + 1)
    if last - starts[-1] >= min(hop, window) / 2:
        starts = np.append(starts, last)
    ends = starts + window
    ends[-1] = seconds
    return np.stack([starts, ends], axis=1)


def nearest_window(spans: np.ndarray, times: np.ndarray) -> np.ndarray:
    """``[T]`` the number of the window whose middle is nearest to each time; of two, the earlier."""
    middles = spans.mean(axis=1)
    return np.searchsorted((middles[1:] + middles[:-1]) / 2, times)


class LongClip:
    """A stored clip whose arrays are read once and sliced by time.

    Args:
        store: where it is.
        row: the clip; one that failed has neither pictures nor sound.
        features: all that is to be read of it.
        max_frames: at most so many pictures a part, spread evenly, as those of training clips were; None for
            all.

    Attributes:
        seconds: how long it is, by its last frame and the last of its sound.
        sound_seconds: where its sound ends; 0 without any.
        faces: where its main face was found; None where it has no pictures.
        silent: whether its sound is digital silence.
        failed: whether something of it could not be read.

    Raises:
        StoreError: an array is damaged.
        FusionError: backbones saw different frames.
    """

    def __init__(
        self, store: FeatureStore, row: Row, features: Iterable[Feature], max_frames: int | None = None
    ) -> None:
        self.clip = row.clip
        self.max_frames = max_frames
        self._stored = {feature: feature.stored(store, row) for feature in {*features}}
        self.faces = faces_of(store, row)
        self.silent = is_silent(store, row)
        self.failed = bool(row.failures) or not row.entries
        self.sound_seconds = sound_seconds(store, row)
        self.seconds = max(self.sound_seconds, end_of(self.faces.times) if self.faces else 0.0)

    @property
    def whole(self) -> Excerpt:
        """All of it."""
        return Excerpt(self, self.clip, -np.inf, np.inf, 0.0)

    def parts(self, spans: np.ndarray) -> list[Excerpt]:
        """Each of the windows ``[n, 2]``; before the first and behind the last nothing is lost."""
        edges = spans.copy()
        edges[0, 0], edges[-1, 1] = -np.inf, np.inf
        return [
            Excerpt(self, Clip(f"{number:06d}", self.clip.split), start, end, zero)
            for number, ((start, end), zero) in enumerate(zip(edges.tolist(), spans[:, 0], strict=True))
        ]

    def cut(self, part: Excerpt, feature: Feature) -> Vectors | None:
        """A feature of a part of it."""
        stored = self._stored[feature]
        if stored is None:
            return None
        places = part.inside(_middles(stored))
        if feature.recipe.modality == VISUAL:
            places = self._spread(places)
        return feature.derived(stored.take(places, part.zero), f"{self.clip} from {part.zero:g} s on")

    def seen(self, part: Excerpt) -> bool:
        """Whether the face is in a picture that :meth:`cut` would read."""
        if self.faces is None:
            return False
        return bool(self.faces.found[self._spread(part.inside(self.faces.times))].any())

    def heard(self, part: Excerpt) -> bool:
        """Whether the part has sound, were it silence."""
        return self.sound_seconds > max(0.0, part.start)

    def _spread(self, places: np.ndarray) -> np.ndarray:
        """``max_frames`` of the places, just as frames of a clip are chosen when it is read."""
        if self.max_frames is None or len(places) <= self.max_frames:
            return places
        chosen = (np.arange(self.max_frames) + 0.5) * len(places) / self.max_frames
        return places[chosen.astype(np.int64)]


@dataclass(frozen=True, eq=False)
class Excerpt:
    """The time of a recording from ``start`` to before ``end`` (seconds), counted from ``zero`` on; a
    :class:`.SequenceSource`.
    """

    recording: LongClip
    clip: Clip
    start: float
    end: float
    zero: float

    def inside(self, times: np.ndarray) -> np.ndarray:
        """Indices of the rising ``times`` that it holds."""
        return np.arange(*np.searchsorted(times, (self.start - SAME, self.end - SAME)))

    def vectors(self, feature: Feature) -> Vectors | None:
        return self.recording.cut(self, feature)

    def has_face(self, times: np.ndarray) -> np.ndarray:
        faces = self.recording.faces
        return np.ones(len(times), dtype=bool) if faces is None else faces.near(times + self.zero)

    @property
    def seen(self) -> bool:
        return self.recording.faces is None or self.recording.seen(self)

    @property
    def silent(self) -> bool:
        return self.recording.silent

    @property
    def failed(self) -> bool:
        return self.recording.failed


class Judges:
    """All members of some runs, loaded once.

    Attributes:
        classes: C names, sorted, as those of all scores here are.
        features: what is read of a clip.

    Raises:
        FusionError: a run is not finished or damaged.
    """

    def __init__(self, runs: Sequence[Run], device: str = "cpu") -> None:
        self._device = device
        self._panels: list[tuple[Run, list[Member]]] = [
            (run, [run.load(number) for number in range(run.members)]) for run in runs
        ]
        self.classes = tuple(sorted(runs[0].setup.classes))
        self.features = {feature for run in runs for feature in run.features.values()}

    def scores(self, sources: Sequence[SequenceSource], leave_empty: bool = True) -> Scores:
        """The mean of the runs as :func:`.runs.predict` gives it; clips sorted by their names.

        Args:
            sources: the clips, or parts of one.
            leave_empty: whether those that have nothing to score get no scores; else what the heads say of
                nothing.

        Raises:
            FusionError: the runs' classes differ, or a value is not finite.
        """
        parts = []
        for run, members in self._panels:
            corpus = gathered(run.features, sources, run.dimensions)
            corpus = corpus if leave_empty else replace(corpus, empty=())
            parts.append(
                [
                    own.scores(run.setup.classes, m.predict(own, self._device))
                    for m in members
                    for own in [corpus.only(m.head.streams)]
                ]
            )
        return mean_of_runs([run for run, _ in self._panels], parts)

    def over_time(self, parts: Sequence[Excerpt]) -> Iterator[np.ndarray]:
        """Probabilities ``[n, C]`` of windows in their order, some at a time."""
        for first in range(0, len(parts), AT_ONCE):
            yield self.scores(parts[first : first + AT_ONCE], leave_empty=False).values


def _middles(stored: StoredArrays) -> np.ndarray:
    if stored.times is None:
        return np.zeros(len(stored.arrays[0]))
    return stored.times if stored.times.ndim == 1 else np.asarray(stored.times.mean(axis=1))
