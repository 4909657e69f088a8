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
            told: dict[str, tuple[FeatureStore, object]] = {}
            for earlier in stores[:number]:
                other = earlier.row(row.clip)
                for what, value in _tellings(other) if other else ():
                    told.setdefault(what, (earlier, value))
            for what, value in _tellings(row):
                first, before = told.get(what, (store, value))
                if before != value:
                    yield f"{row.clip}, {what}: {_difference(before, value)} ({first.path} / {store.path})"


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
        self._bare: list[tuple[ClipKey, list[str]]] = []
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
        self._need_room()
        with self._target.writer() as writer:
            for number, (row, streams) in enumerate(self._rows(self._bare), start=1):
                writer.adopt(row.clip, row.source, {stream: row.entries[stream] for stream in streams})
                if number % AT_ONCE == 0:
                    writer.flush()
            for shard, wanted in self._shards.items():
                self._take(writer, shard, wanted)
                yield self._sizes[shard]

    def _consider(self, theirs: Row) -> bool:
        """Record what the target lacks of a row; return whether it lacks anything."""
        row, ours = self._united(theirs)
        lacking = [
            stream
            for stream, entry in theirs.entries.items()
            if stream not in ours.entries or RANK[entry.status] < RANK[ours.entries[stream].status]
        ]
        bare = [stream for stream in lacking if not row.entries[stream].arrays]
        new = self._target.row(theirs.clip) is None or (row.clip, row.source) != (ours.clip, ours.source)
        if bare or new:
            self._bare.append((theirs.clip.key, bare))
        shards: dict[str, list[str]] = defaultdict(list)
        for stream in lacking:
            for ref in list(row.entries[stream].arrays.values())[:1]:  # an outcome's arrays share a shard
                shards[ref.shard].append(stream)
        for shard, streams in shards.items():
            self._shards[shard].append((theirs.clip.key, streams))
        return bool(lacking) or new

    def _united(self, theirs: Row) -> tuple[Row, Row]:
        """Return the source's row with its clip and source as merged, and the target's row."""
        ours = self._target.row(theirs.clip) or Row(theirs.clip)
        return Row(_united(ours.clip, theirs.clip), ours.source or theirs.source, theirs.entries), ours

    def _rows(self, wanted: Wanted) -> Iterator[tuple[Row, Sequence[str]]]:
        for (split, name), streams in wanted:
            theirs = self._source.row(Clip(name, split))
            if theirs:
                yield self._united(theirs)[0], streams

    def _need_room(self) -> None:
        needed = sum(size for shard, size in self._sizes.items() if not self._place(shard).exists())
        free = shutil.disk_usage(self._target.path).free
        if needed > free:
            raise StoreError(
                f"{self._source.path} adds {needed / 1e6:.0f} MB to {self._target.path}, whose disk has "
                f"{free / 1e6:.0f} MB free; free some space and run the same command again"
            )

    def _take(self, writer: StoreWriter, shard: str, wanted: Wanted) -> None:
        whole = self._copied(shard, wanted)
        for row, streams in self._rows(wanted):
            good = {stream: row.entries[stream] for stream in streams if (row.clip, stream) in whole}
            if good:
                writer.adopt(row.clip, row.source, good)
            for stream in streams:
                if stream not in good:
                    self._write_anew(writer, row, stream)
        if whole:
            writer.flush()

    def _write_anew(self, writer: StoreWriter, row: Row, stream: str) -> None:
        entry = row.entries[stream]
        try:
            arrays = self._source.read(row, stream)
        except StoreError as error:
            self.damaged.append(Damage(row.clip, stream, str(error)))
            return
        outcome = Outcome(entry.key, entry.status, entry.reason, entry.info, arrays)
        writer.add(row.clip, row.source, {stream: outcome})

    def _copied(self, shard: str, wanted: Wanted) -> set[tuple[Clip, str]]:
        """Copy a shard to the target if that pays; return which of ``wanted`` are intact in the copy."""
        place = self._place(shard)
        if place.exists():
            return self._whole(shard, wanted)
        if not self._worth_copying(shard, wanted):
            return set()
        unfinished = temporary(place)
        try:
            copy(self._source.path / "shards" / shard, unfinished)
            whole = self._whole(unfinished.name, wanted)
            if whole:
                put(unfinished, place)
            return whole
        except OSError as error:
            if error.errno == errno.EIO:  # the source's disk is failing: rewrite what can be read
                return set()
            raise cannot_write(place, error) from error
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

    def _whole(self, file: str, wanted: Wanted) -> set[tuple[Clip, str]]:
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

    def _place(self, shard: str) -> Path:
        return self._target.path / "shards" / shard


def _tellings(row: Row) -> Iterator[tuple[str, object]]:
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


def _united(ours: Clip, theirs: Clip) -> Clip:
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
