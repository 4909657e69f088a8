"""Reads the facial markers of many clips into a store."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ..cache.clips import Clip
from ..cache.keys import FeatureKey
from ..cache.store import FeatureStore
from ..cache.writer import Outcome
from .clip import ClipJob, ClipResult
from .errors import ClipError
from .markers import MARKERS, SETTINGS, MarkerSpan, read_markers

KEY = FeatureKey(MARKERS, SETTINGS)


class MarkerRun:
    """The markers that a store lacks.

    Args:
        clips: all clips of the data set.
        spans: location of the markers, by :attr:`.Clip.key`; other clips are skipped.
        store: store to add to. Markers already stored from the same span of the same recording are not read
            again.
        failed_only: whether to read only stored clips whose markers failed.

    Attributes:
        jobs: clips whose markers are to be read, or recorded as absent.
    """

    def __init__(
        self,
        clips: Iterable[Clip],
        spans: Mapping[tuple[str, str], MarkerSpan],
        store: FeatureStore,
        failed_only: bool = False,
    ) -> None:
        self._spans, self._store = spans, store
        self.jobs = [
            ClipJob(clip, {MARKERS: KEY})
            for clip in clips
            if clip.key in spans and not self._done(clip) and (self._failed(clip) or not failed_only)
        ]

    def __iter__(self) -> Iterator[ClipResult]:
        """Read the markers, yielding each clip's result. Leaving early keeps every result yielded so far."""
        with self._store.writer() as writer:
            for job in self.jobs:
                outcome = _outcome(self._spans[job.clip.key])
                writer.add(job.clip, None, {MARKERS: outcome})
                warnings = [outcome.info["warning"]] if "warning" in outcome.info else []
                yield ClipResult(job, streams={MARKERS: outcome}, warnings=warnings)

    def _failed(self, clip: Clip) -> bool:
        row = self._store.row(clip)
        return row is not None and MARKERS in row.failures

    def _done(self, clip: Clip) -> bool:
        row, span = self._store.row(clip), self._spans[clip.key]
        entry = row.entries.get(MARKERS) if row else None
        if entry is None or entry.key != KEY or entry.status == "failed":
            return False
        if span.absent or entry.status == "absent":
            return entry.reason == span.absent
        try:
            return _recording_facts(span).items() <= entry.info.items()
        except OSError:
            return False


def _outcome(span: MarkerSpan) -> Outcome:
    """Return the outcome of a clip. An unusable recording yields a reason, not an error."""
    if span.absent:
        return Outcome(KEY, "absent", span.absent)
    try:
        markers = read_markers(span)
        info = {**_recording_facts(span), "frames": len(markers.times), "unseen": markers.unseen}
    except (ClipError, OSError) as error:
        return Outcome(KEY, "failed", str(error), {"stage": MARKERS})
    if markers.warning:
        info["warning"] = markers.warning
    return Outcome(KEY, info=info, arrays={MARKERS: markers.positions, "times": markers.times})


def _recording_facts(span: MarkerSpan) -> dict[str, Any]:
    """Return facts that show cheaply whether a clip's markers have changed."""
    path = Path(span.path)
    return {"file": path.name, "bytes": path.stat().st_size, "start": span.start, "end": span.end}
