"""Merges stores, such as parts of a corpus that were extracted on several machines.

Shards are copied as files under their names. An array is journalled once its checksum was verified.
A merge that is killed leaves a valid store and continues when it is run again: nothing is copied twice.
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
"""Of a shard's bytes; where less is wanted, those arrays are written anew instead."""

AT_ONCE = 10_000
"""Clips without arrays, whose records are written in one go."""

Wanted = Sequence[tuple[ClipKey, Sequence[str]]]
"""Clips, with the streams wanted of them. Rows are read when they are needed, as there may be a million."""


def contradictions(stores: Sequence[FeatureStore]) -> Iterator[str]:
    """What keeps stores from being one: a line for each thing that two of them tell differently of a clip."""
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
    """What of ``store`` cannot be trained on: a text for each stream of several settings."""
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
        source: taken from; it stays as it is.
        target: added to.

    Attributes:
        found: how many clips the source has.
        clips: how many clips the target gets, or gets something of.
        nbytes: of the shards in which that is.
        damaged: what could not be taken.
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
        """Work, yielding after each shard how many bytes it has.

        Raises:
            StoreError: the target's disk is full or cannot be written; what it holds is whole.
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
        """Note what the target lacks of a row; whether that is anything."""
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
            for ref in list(row.entries[stream].arrays.values())[:1]:  # one outcome's arrays lie together
                shards[ref.shard].append(stream)
        for shard, streams in shards.items():
            self._shards[shard].append((theirs.clip.key, streams))
        return bool(lacking) or new

    def _united(self, theirs: Row) -> tuple[Row, Row]:
        """A row of the source, its clip as the target will have it; and that of the target."""
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
        """Have a shard in the target, if that is worth while; which of ``wanted`` are whole in it there."""
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
            if error.errno == errno.EIO:  # the source's disk is failing: what can be read of it is
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
        """Which of ``wanted`` are as they were written, in a file among the target's shards."""
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
    """What a store says of a clip that no other may say otherwise."""
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
    """What either knows of a clip."""
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
