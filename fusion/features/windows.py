"""Scores a recording over time, in windows that are treated like training clips.

A window selects the stored vectors within its time span and counts their times from its start. Features of a
whole clip's sound (its spoken part, its functionals) are computed from the window's sound. No network runs
again, and stored arrays are read once.

Results differ slightly from those of a window cut out as a file and extracted anew: slopes of log-Mel use two
frames beyond each edge; AlexNet's picture is scaled by the recording's loudest moment and extends 0.3 s
beyond the edges; and speech segments are found in the whole recording.
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
AT_ONCE = 64  # windows per batch; the windows of an hour would not fit into memory together


def window_spans(seconds: float, window: float, hop: float) -> np.ndarray:
    """Return start and end in seconds ``[n, 2]`` of windows that are ``hop`` apart.

    The last window is flush with the end. If it would start less than half a hop (or half a window) after the
    one before, that one is extended to the end instead. A recording no longer than a window is one window.

    Args:
        seconds: length of the recording, above 0.
        window: length of a window in seconds, above 0.
        hop: seconds from the start of one window to the next, above 0.
    """
    last = max(0.0, seconds - window)
    starts = hop * np.arange(int(last / hop + SAME) + 1)
    if last - starts[-1] >= min(hop, window) / 2:
        starts = np.append(starts, last)
    ends = starts + window
    ends[-1] = seconds
    return np.stack([starts, ends], axis=1)


def nearest_window(spans: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Return ``[T]`` indices of the windows with the middle nearest to each time; the earlier on a tie."""
    middles = spans.mean(axis=1)
    return np.searchsorted((middles[1:] + middles[:-1]) / 2, times)


class LongClip:
    """A stored clip whose arrays are read once and sliced by time.

    Args:
        store: the store that holds the clip.
        row: the clip; a failed clip has neither pictures nor sound.
        features: all features to read.
        max_frames: maximum number of pictures per part, evenly spaced as for training clips; None for all.

    Attributes:
        seconds: length in seconds, up to the end of the last frame or of the sound.
        sound_seconds: end of the sound in seconds; 0 without sound.
        faces: detections of the main face; None without pictures.
        silent: whether the sound is digital silence.
        failed: whether a part of the clip could not be read.

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
        """The whole clip."""
        return Excerpt(self, self.clip, -np.inf, np.inf, 0.0)

    def parts(self, spans: np.ndarray) -> list[Excerpt]:
        """Return an excerpt for each window ``[n, 2]``; the outer two are open, so no data is lost."""
        edges = spans.copy()
        edges[0, 0], edges[-1, 1] = -np.inf, np.inf
        return [
            Excerpt(self, Clip(f"{number:06d}", self.clip.split), start, end, zero)
            for number, ((start, end), zero) in enumerate(zip(edges.tolist(), spans[:, 0], strict=True))
        ]

    def cut(self, part: Excerpt, feature: Feature) -> Vectors | None:
        """Return a feature of a part of the clip."""
        stored = self._stored[feature]
        if stored is None:
            return None
        places = part.inside(_middles(stored))
        if feature.recipe.modality == VISUAL:
            places = self._spread(places)
        return feature.derived(stored.take(places, part.zero), f"{self.clip} from {part.zero:g} s on")

    def seen(self, part: Excerpt) -> bool:
        """Return whether a face was found in a picture that :meth:`cut` would read."""
        if self.faces is None:
            return False
        return bool(self.faces.found[self._spread(part.inside(self.faces.times))].any())

    def heard(self, part: Excerpt) -> bool:
        """Return whether the part has sound, even if silent."""
        return self.sound_seconds > max(0.0, part.start)

    def _spread(self, places: np.ndarray) -> np.ndarray:
        """Thin ``places`` to ``max_frames``, by the same rule that chooses frames when a clip is decoded."""
        if self.max_frames is None or len(places) <= self.max_frames:
            return places
        chosen = (np.arange(self.max_frames) + 0.5) * len(places) / self.max_frames
        return places[chosen.astype(np.int64)]


@dataclass(frozen=True, eq=False)
class Excerpt:
    """The part of a recording from ``start`` to before ``end`` (seconds), with times counted from ``zero``.

    A :class:`.SequenceSource`.
    """

    recording: LongClip
    clip: Clip
    start: float
    end: float
    zero: float

    def inside(self, times: np.ndarray) -> np.ndarray:
        """Return the indices of ascending ``times`` within the excerpt."""
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


class LoadedRuns:
    """All members of one or more runs, loaded once.

    Attributes:
        classes: C names, sorted, in the order of all scores returned.
        features: features that the members read.

    Raises:
        FusionError: a run is unfinished or damaged.
    """

    def __init__(self, runs: Sequence[Run], device: str = "cpu") -> None:
        self._device = device
        self._members_of_runs: list[tuple[Run, list[Member]]] = [
            (run, [run.load(number) for number in range(run.members)]) for run in runs
        ]
        self.classes = tuple(sorted(runs[0].setup.classes))
        self.features = {feature for run in runs for feature in run.features.values()}

    def scores(self, sources: Sequence[SequenceSource], leave_empty: bool = True) -> Scores:
        """Average the scores of the runs, as :func:`.runs.predict` does. Clips are sorted by name.

        Args:
            sources: the clips, or parts of one.
            leave_empty: leave clips with nothing to score without scores; if false, they get the heads'
                output for empty input.

        Raises:
            FusionError: the runs' classes differ, or a value is not finite.
        """
        parts = []
        for run, members in self._members_of_runs:
            corpus = gathered(run.features, sources, run.dimensions)
            corpus = corpus if leave_empty else replace(corpus, empty=())
            parts.append(
                [
                    own.scores(run.setup.classes, m.predict(own, self._device))
                    for m in members
                    for own in [corpus.only(m.head.streams)]
                ]
            )
        return mean_of_runs([run for run, _ in self._members_of_runs], parts)

    def over_time(self, parts: Sequence[Excerpt]) -> Iterator[np.ndarray]:
        """Yield probabilities ``[n, C]`` of the windows in order, in batches."""
        for first in range(0, len(parts), AT_ONCE):
            yield self.scores(parts[first : first + AT_ONCE], leave_empty=False).values


def _middles(stored: StoredArrays) -> np.ndarray:
    if stored.times is None:
        return np.zeros(len(stored.arrays[0]))
    return stored.times if stored.times.ndim == 1 else np.asarray(stored.times.mean(axis=1))
