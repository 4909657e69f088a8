"""Counts over clips, taken one at a time so that a million of them need no memory."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable

from ..cache.rows import Row
from .store_status import SplitCounts, stages_of


class Tally:
    """Counts over the clips of an extraction.

    Attributes:
        splits: split → its counts, in the order of the clips.
        failed: clip that failed → reason; several reasons if several streams failed.
        stages: stage → number of clips that failed in it.
        changes: change to pictures beyond decoding → number of clips.
        markers: status of facial markers → number of clips.
        unmarked: reason for missing markers → number of clips.
    """

    def __init__(self, rows: Iterable[Row]) -> None:
        self.splits: dict[str, SplitCounts] = defaultdict(SplitCounts)
        self.failed: dict[str, str] = {}
        self.stages: Counter[str] = Counter()
        self.changes: Counter[str] = Counter()
        self.markers: Counter[str] = Counter()
        self.unmarked: Counter[str] = Counter()
        for row in rows:
            self._add(row)

    def _add(self, row: Row) -> None:
        self.splits[row.clip.split].add(row)
        if row.failures:
            self.failed[str(row.clip)] = "; ".join(sorted({*row.failures.values()}))
            self.stages.update(stages_of(row))
        if row.has("faces"):
            self.changes.update(row.entries["faces"].info.get("pictures", ()))
        if "markers" in row.entries:
            entry = row.entries["markers"]
            self.markers[entry.status] += 1
            if entry.status == "absent":
                self.unmarked[entry.reason] += 1
