"""Merges stores, such as parts of a corpus extracted on several machines.

Shards are copied as files and keep their names. An array is journalled only after its checksum has been
verified. A killed merge leaves a valid store; run again, it continues without copying anything twice.
"""

from __future__ import annotations

import errno
import shutil
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from .clips import Clip, ClipKey
from .durable import copy, discard, put, temporary
from .errors import MixedKeysError, StoreError
from .keys import FeatureKey
from .rows import RANK, Row
from .shards import ShardReader, cannot_write
from .store import FeatureStore
from .writer import Outcome, StoreWriter

WORTH_COPYING = 0.5
"""Minimum share of a shard's bytes that must be wanted; otherwise only the wanted arrays are rewritten."""

AT_ONCE = 10_000
"""Number of clips without arrays whose records are written at once."""

Wanted = Sequence[tuple[ClipKey, Sequence[str]]]
"""Clips with the streams wanted of them. Rows are read on demand, as there may be a million."""


def contradictions(stores: Sequence[FeatureStore]) -> Iterator[str]:
    """Yield a line for each fact about a clip on which two stores disagree. Such stores cannot be merged."""
    for number, store in enumerate(stores):
        for row in store:
            facts: dict[str, tuple[FeatureStore, object]] = {}
            for earlier in stores[:number]:
                other = earlier.row(row.clip)
                for fact, value in _facts_of(other) if other else ():
                    facts.setdefault(fact, (earlier, value))
            for fact, value in _facts_of(row):
                first, before = facts.get(fact, (store, value))
                if before != value:
                    yield f"{row.clip}, {fact}: {_difference(before, value)} ({first.path} / {store.path})"


def mixtures(store: FeatureStore) -> Iterator[str]:
    """Yield a message for each stream that has mixed settings and so cannot be trained on."""
    for stream in store.streams:
        try:
            store.key(stream)
        except MixedKeysError as error:
            yield str(error)


@dataclass(frozen=True)
class Damage:
    """A stream of a clip that could not be merged."""

    clip: Clip
    stream: str
    reason: str


class Merge:
    """A merge of one store into another.

    Args:
        source: store to read from; it is not changed.
        target: store to add to.

    Attributes:
        found: number of clips in the source.
        clips: number of clips that are new to the target or add something to it.
        nbytes: total size of the shards that hold these additions.
        damaged: streams that could not be merged.
    """

    def __init__(self, source: FeatureStore, target: FeatureStore) -> None:
        self._source, self._target = source, target
        self._without_arrays: list[tuple[ClipKey, list[str]]] = []
        self._shards: dict[str, list[tuple[ClipKey, list[str]]]] = defaultdict(list)
        considered = [self._consider(row) for row in source]
        self.found, self.clips = len(considered), sum(considered)
        self._sizes = {shard: _size(source, shard) for shard in self._shards}
        self.nbytes = sum(self._sizes.values())
        self.damaged: list[Damage] = []

    def __iter__(self) -> Iterator[int]:
        """Merge, yielding the size in bytes of each shard when it is done.

        Raises:
            StoreError: the target's disk is full or cannot be written; everything stored in it is intact.
        """
        self._require_space()
        with self._target.writer() as writer:
            for number, (row, streams) in enumerate(self._rows(self._without_arrays), start=1):
                writer.adopt(row.clip, row.source, {stream: row.entries[stream] for stream in streams})
                if number % AT_ONCE == 0:
                    writer.flush()
            for shard, wanted in self._shards.items():
                self._merge_shard(writer, shard, wanted)
                yield self._sizes[shard]

    def _consider(self, theirs: Row) -> bool:
        """Record what the target lacks of a row; return whether it lacks anything."""
        row, ours = self._merged_row(theirs)
        lacking = [
            stream
            for stream, entry in theirs.entries.items()
            if stream not in ours.entries or RANK[entry.status] < RANK[ours.entries[stream].status]
        ]
        without_arrays = [stream for stream in lacking if not row.entries[stream].arrays]
        new = self._target.row(theirs.clip) is None or (row.clip, row.source) != (ours.clip, ours.source)
        if without_arrays or new:
            self._without_arrays.append((theirs.clip.key, without_arrays))
        shards: dict[str, list[str]] = defaultdict(list)
        for stream in lacking:
            for ref in list(row.entries[stream].arrays.values())[:1]:  # an outcome's arrays share a shard
                shards[ref.shard].append(stream)
        for shard, streams in shards.items():
            self._shards[shard].append((theirs.clip.key, streams))
        return bool(lacking) or new

    def _merged_row(self, theirs: Row) -> tuple[Row, Row]:
        """Return the source's row with its clip and source as merged, and the target's row."""
        ours = self._target.row(theirs.clip) or Row(theirs.clip)
        return Row(_merged_clip(ours.clip, theirs.clip), ours.source or theirs.source, theirs.entries), ours

    def _rows(self, wanted: Wanted) -> Iterator[tuple[Row, Sequence[str]]]:
        for (split, name), streams in wanted:
            theirs = self._source.row(Clip(name, split))
            if theirs:
                yield self._merged_row(theirs)[0], streams

    def _require_space(self) -> None:
        needed = sum(size for shard, size in self._sizes.items() if not self._shard_path(shard).exists())
        free = shutil.disk_usage(self._target.path).free
        if needed > free:
            raise StoreError(
                f"{self._source.path} adds {needed / 1e6:.0f} MB to {self._target.path}, whose disk has "
                f"{free / 1e6:.0f} MB free; free some space and run the same command again"
            )

    def _merge_shard(self, writer: StoreWriter, shard: str, wanted: Wanted) -> None:
        intact = self._copy_shard(shard, wanted)
        for row, streams in self._rows(wanted):
            good = {stream: row.entries[stream] for stream in streams if (row.clip, stream) in intact}
            if good:
                writer.adopt(row.clip, row.source, good)
            for stream in streams:
                if stream not in good:
                    self._rewrite(writer, row, stream)
        if intact:
            writer.flush()

    def _rewrite(self, writer: StoreWriter, row: Row, stream: str) -> None:
        entry = row.entries[stream]
        try:
            arrays = self._source.read(row, stream)
        except StoreError as error:
            self.damaged.append(Damage(row.clip, stream, str(error)))
            return
        outcome = Outcome(entry.key, entry.status, entry.reason, entry.info, arrays)
        writer.add(row.clip, row.source, {stream: outcome})

    def _copy_shard(self, shard: str, wanted: Wanted) -> set[tuple[Clip, str]]:
        """Copy a shard to the target if that pays; return which of ``wanted`` are intact in the copy."""
        path = self._shard_path(shard)
        if path.exists():
            return self._intact(shard, wanted)
        if not self._worth_copying(shard, wanted):
            return set()
        unfinished = temporary(path)
        try:
            copy(self._source.path / "shards" / shard, unfinished)
            intact = self._intact(unfinished.name, wanted)
            if intact:
                put(unfinished, path)
            return intact
        except OSError as error:
            if error.errno == errno.EIO:  # the source's disk is failing: rewrite what can be read
                return set()
            raise cannot_write(path, error) from error
        finally:
            discard(unfinished)

    def _worth_copying(self, shard: str, wanted: Wanted) -> bool:
        try:
            used = sum(
                self._source.nbytes(row, stream) for row, streams in self._rows(wanted) for stream in streams
            )
        except StoreError:
            return False
        return used >= WORTH_COPYING * self._sizes[shard]

    def _intact(self, file: str, wanted: Wanted) -> set[tuple[Clip, str]]:
        """Return which of ``wanted`` are undamaged in a file in the target's shard folder."""
        found = set()
        with closing(ShardReader(self._target.path / "shards")) as reader:
            for row, streams in self._rows(wanted):
                for stream in streams:
                    try:
                        for ref in row.entries[stream].arrays.values():
                            reader.read(replace(ref, shard=file))
                    except StoreError:
                        continue
                    found.add((row.clip, stream))
        return found

    def _shard_path(self, shard: str) -> Path:
        return self._target.path / "shards" / shard


def _facts_of(row: Row) -> Iterator[tuple[str, object]]:
    """Yield the facts about a clip on which all stores must agree."""
    if row.source:
        yield "content of its file", row.source.sha256[:12]
    if row.clip.label is not None:
        yield "label", row.clip.label
    if row.clip.subject is not None:
        yield "subject", row.clip.subject
    if row.clip.session is not None:
        yield "session", row.clip.session
    for stream, entry in row.entries.items():
        if entry.status != "failed":
            yield stream, entry.key
            if entry.key.settings.get("imported"):
                sums = [ref.checksum for ref in entry.arrays.values()]
                yield f"values imported as {stream}", " ".join(sums) or "none"


def _difference(one: object, other: object) -> str:
    if isinstance(one, FeatureKey) and isinstance(other, FeatureKey):
        return "; ".join(one.differences(other))
    return f"{one} / {other}"


def _merged_clip(ours: Clip, theirs: Clip) -> Clip:
    """Return ``ours``, with unknown fields taken from ``theirs``."""
    return replace(
        ours,
        path=ours.path or theirs.path,
        label=theirs.label if ours.label is None else ours.label,
        subject=theirs.subject if ours.subject is None else ours.subject,
        session=theirs.session if ours.session is None else ours.session,
    )


def _size(store: FeatureStore, shard: str) -> int:
    try:
        return (store.path / "shards" / shard).stat().st_size
    except OSError:
        return 0
