"""The markers of many clips: which are still to be read, and their way into the store."""

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
        spans: where their markers are, by :attr:`.Clip.key`; clips that are not in it are passed over.
        store: what is there already, of the same span of the same recording, is not read again.
        failed_only: of the stored clips whose markers failed, and no others.

    Attributes:
        jobs: clips whose markers are to be read, or noted as absent.
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
        """Work, yielding each clip's result; what was yielded is kept, also when this is left early."""
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
            return _read_from(span).items() <= entry.info.items()
        except OSError:
            return False


def _outcome(span: MarkerSpan) -> Outcome:
    """What becomes of a clip; a recording that cannot be used gives a reason, never an error."""
    if span.absent:
        return Outcome(KEY, "absent", span.absent)
    try:
        markers = read_markers(span)
        info = {**_read_from(span), "frames": len(markers.times), "unseen": markers.unseen}
    except (ClipError, OSError) as error:
        return Outcome(KEY, "failed", str(error), {"stage": MARKERS})
    if markers.warning:
        info["warning"] = markers.warning
    return Outcome(KEY, info=info, arrays={MARKERS: markers.positions, "times": markers.times})


def _read_from(span: MarkerSpan) -> dict[str, Any]:
    """What tells cheaply whether a clip's markers would be others now."""
    path = Path(span.path)
    return {"file": path.name, "bytes": path.stat().st_size, "start": span.start, "end": span.end}
