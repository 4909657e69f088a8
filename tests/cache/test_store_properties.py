"""Any sequence of writing, killing, refreshing, dropping, removing, merging, damage and repair, by writers on
clocks of their own, held against a plain model: a list of records, each with the set of records that its
writer knew. ``EXAMPLES=1000`` in the environment makes it as long as `make torture` does."""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from unittest import mock

import h5py
import hypothesis.strategies as st
import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from avemo.cache.checks import inspect, repair
from avemo.cache.clips import Clip
from avemo.cache.keys import FeatureKey
from avemo.cache.merge import Merge
from avemo.cache.rows import Source
from avemo.cache.store import FeatureStore
from avemo.cache.writer import Outcome, StoreWriter

STREAMS = ("faces", "net/default")
KEYS = {stream: FeatureKey(stream, {}) for stream in STREAMS}
STATUSES = ("ok", "absent", "failed")  # the most useful first

clips = st.sampled_from([Clip(name, "train") for name in "ab"])
writers = st.integers(0, 2)
clocks = st.integers(0, 1 << 60)


@dataclass(frozen=True)
class WrittenRecord:
    """A record: what a writer told of a clip, and which records it knew then."""

    number: int
    clip: Clip
    kind: str  # "outcomes", "drop" or "remove"
    streams: dict[str, tuple[str, int]] = field(hash=False)
    known: frozenset[int]


@dataclass
class Writing:
    """A writer, what it knew when it was opened, what it has told, and what of that is not flushed yet."""

    writer: StoreWriter
    known: frozenset[int]
    records: list[WrittenRecord] = field(default_factory=list)
    waiting: list[WrittenRecord] = field(default_factory=list)


class StoreMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.reader = FeatureStore(self.folder / "store", create=True)
        self.open: dict[int, Writing] = {}
        self.flushed: list[WrittenRecord] = []
        self.numbers = itertools.count()

    def teardown(self) -> None:
        self.reader.close()
        shutil.rmtree(self.folder)

    def _add_record(
        self, which: int, clip: Clip, kind: str, streams: dict[str, tuple[str, int]]
    ) -> StoreWriter:
        if which not in self.open:
            known = frozenset(record.number for record in self.flushed)
            self.open[which] = Writing(StoreWriter(self.folder / "store"), known)
        writing = self.open[which]
        known = writing.known | {record.number for record in writing.records}
        record = WrittenRecord(next(self.numbers), clip, kind, streams, known)
        writing.records.append(record)
        writing.waiting.append(record)
        return writing.writer

    @rule(
        which=writers,
        clip=clips,
        statuses=st.dictionaries(st.sampled_from(STREAMS), st.sampled_from(STATUSES), min_size=1),
        clock=clocks,
    )
    def extract(self, which: int, clip: Clip, statuses: dict[str, str], clock: int) -> None:
        value = next(self.numbers)
        writer = self._add_record(
            which, clip, "outcomes", {s: (status, value) for s, status in statuses.items()}
        )
        outcomes = {
            stream: Outcome(KEYS[stream], arrays={"basic": np.full((2, 3), value)})
            if status == "ok"
            else Outcome(KEYS[stream], status, str(value))
            for stream, status in statuses.items()
        }
        with mock.patch.object(time, "time_ns", lambda: clock):
            writer.add(clip, Source("0" * 64, 1, 1), outcomes)

    @rule(which=writers, clip=clips, streams=st.sets(st.sampled_from(STREAMS), min_size=1), clock=clocks)
    def drop(self, which: int, clip: Clip, streams: set[str], clock: int) -> None:
        writer = self._add_record(which, clip, "drop", dict.fromkeys(streams, ("", 0)))
        with mock.patch.object(time, "time_ns", lambda: clock):
            writer.drop(clip, sorted(streams))

    @rule(which=writers, clip=clips, clock=clocks)
    def remove(self, which: int, clip: Clip, clock: int) -> None:
        writer = self._add_record(which, clip, "remove", dict.fromkeys(STREAMS, ("", 0)))
        with mock.patch.object(time, "time_ns", lambda: clock):
            writer.remove(clip)

    @rule(which=writers)
    def flush(self, which: int) -> None:
        if which in self.open:
            writing = self.open[which]
            writing.writer.flush()
            self.flushed += writing.waiting
            writing.waiting = []

    @rule(which=writers, torn=st.booleans())
    def kill(self, which: int, torn: bool) -> None:
        """In the middle of a line of its journal, perhaps."""
        killed = self.open.pop(which, None)
        journal = self.folder / "store" / "journal" / f"{killed.writer.name if killed else ''}.jsonl"
        if torn and journal.is_file():
            with journal.open("ab") as file:
                file.write(b'{"time":1,"kind":"clip","clip":{"id":"a"')

    @rule()
    def refresh(self) -> None:
        """A store that stays open sees what one that is opened now sees."""
        self.reader.refresh()
        with FeatureStore(self.folder / "store") as store:
            assert contents(self.reader) == contents(store)

    @rule(which=st.integers(0, 1 << 16))
    def damage(self, which: int) -> None:
        """A byte of an array changes: verifying names that stream alone, and repairing drops it."""
        self.reader.close()  # within a process, HDF5 reads a file that is open from its own buffer
        with FeatureStore(self.folder / "store") as store:
            whole = [(row, stream) for row in store.rows for stream in row.entries if row.has(stream)]
            if not whole:
                return
            row, stream = whole[which % len(whole)]
            (ref,) = row.entries[stream].arrays.values()
            path = self.folder / "store" / "shards" / ref.shard
            with h5py.File(path) as shard:
                place = shard[ref.dataset].id.get_offset() + 8 * 3 * ref.start
            with path.open("r+b") as file:
                file.seek(place)
                value = file.read(1)
                file.seek(place)
                file.write(bytes([value[0] ^ 1]))
        with FeatureStore(self.folder / "store") as store:
            findings = inspect(store)
            assert [(each.clip, of) for each, of, _ in findings.damaged] == [(row.clip, stream)]
            repair(store, findings)
        known = frozenset(record.number for record in self.flushed)
        self.flushed.append(WrittenRecord(next(self.numbers), row.clip, "drop", {stream: ("", 0)}, known))

    @rule()
    def merge(self) -> None:
        """A merge into an empty store, and the same once more, give what there is."""
        shutil.rmtree(self.folder / "other", ignore_errors=True)
        with FeatureStore(self.folder / "store") as store:
            for _ in range(2):
                with FeatureStore(self.folder / "other", create=True) as other:
                    assert not [
                        damage for merge in [Merge(store, other)] for _ in merge for damage in merge.damaged
                    ]
            with FeatureStore(self.folder / "other") as other:
                assert contents(other) == contents(store)

    @invariant()
    def as_the_model_says(self) -> None:
        with FeatureStore(self.folder / "store") as store:
            assert not inspect(store)
            found = contents(store)
        for clip in {record.clip for record in self.flushed}:
            for stream in STREAMS:
                allowed = self.best(clip, stream)
                assert found.get((clip.id, stream), ("", 0)) in (allowed or {("", 0)})

    def best(self, clip: Clip, stream: str) -> set[tuple[str, int]]:
        """The outcomes that no other record knew of, those of the best status."""
        about = [record for record in self.flushed if record.clip == clip and stream in record.streams]
        followed = {number for record in about for number in record.known}
        rivals = {
            record.streams[stream]
            for record in about
            if record.kind == "outcomes" and record.number not in followed
        }
        best = min((STATUSES.index(status) for status, _ in rivals), default=0)
        return {rival for rival in rivals if rival[0] == STATUSES[best]}


def contents(store: FeatureStore) -> dict[tuple[str, str], tuple[str, int]]:
    """(clip, stream) → status and value."""
    found = {}
    for row in store.rows:
        for stream, entry in row.entries.items():
            value = store.read(row, stream)["basic"][1, 2] if row.has(stream) else int(entry.reason)
            found[row.clip.id, stream] = (entry.status, int(value))
    return found


TestStore = StoreMachine.TestCase
TestStore.settings = settings(
    max_examples=int(os.environ.get("EXAMPLES", "60")),
    stateful_step_count=20,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
