"""Writes to a store: outcomes are collected, written as a shard, and only then journalled."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, astuple, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from . import durable, journal
from .clips import Clip
from .keys import FeatureKey
from .rows import Entry, Row, Source
from .shards import Shard, cannot_write

STALE_SECONDS = 24 * 3600


@dataclass
class Outcome:
    """The outcome of extracting one stream of a clip; ``arrays`` ``[T, ...]`` may be memory maps."""

    key: FeatureKey
    status: str = "ok"
    reason: str = ""
    info: Mapping[str, Any] = field(default_factory=dict)
    arrays: Mapping[str, np.ndarray] = field(default_factory=dict)


class StoreWriter:
    """Writes shards and a journal that no other writer touches.

    A shard is written when it holds ``shard_bytes`` or is ``shard_seconds`` old, so a killed run loses at
    most the work of that time. Leaving the context writes the last one, even after an exception.

    Args:
        path: the store's folder.
        shard_bytes: size of the arrays, in bytes, at which a shard is written.
        shard_seconds: age in seconds at which a shard is written, when the next clip is added.
    """

    def __init__(self, path: Path, shard_bytes: float = 64e6, shard_seconds: float = 20.0) -> None:
        self.name = f"{durable.HOST}-{os.getpid()}-{secrets.token_hex(3)}"
        self._shards = path / "shards"
        self._journal = path / "journal" / f"{self.name}.jsonl"
        self._limits = (shard_bytes, shard_seconds)
        self._declared: set[str] = set()
        self._records: list[journal.Record] = []
        self._count = 0
        self._shard: Shard | None = None
        self._started = 0.0
        self._opening = [journal.opening(self._journal.parent)]
        for folder in (path, self._shards):
            durable.discard_abandoned(folder)
            for leftover in folder.glob(".*.tmp"):  # of other machines, whose processes cannot be checked
                with suppress(FileNotFoundError):  # its writer was only slow, and has just renamed it
                    if time.time() - leftover.stat().st_mtime > STALE_SECONDS:
                        durable.discard(leftover)

    def __enter__(self) -> StoreWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.flush()

    def add(self, clip: Clip, source: Source | None, streams: Mapping[str, Outcome]) -> None:
        """Add the outcomes of one clip's streams; without streams, only update its row."""
        if self._shard is None:
            self._count += 1
            self._shard = Shard(self._shards / f"{self.name}-{self._count:05d}.h5")
            self._started = time.monotonic()
        self.adopt(clip, source, {stream: self._add_arrays(outcome) for stream, outcome in streams.items()})
        shard_bytes, shard_seconds = self._limits
        if self._shard.nbytes >= shard_bytes or time.monotonic() - self._started >= shard_seconds:
            self.flush()

    def adopt(self, clip: Clip, source: Source | None, entries: Mapping[str, Entry]) -> None:
        """Add outcomes whose arrays, if any, are in existing shards."""
        streams = {}
        for stream, entry in entries.items():
            self._declare(entry.key)
            streams[stream] = {
                "digest": entry.key.digest,
                "status": entry.status,
                "reason": entry.reason,
                "info": dict(entry.info),
                "arrays": {name: list(astuple(ref)) for name, ref in entry.arrays.items()},
            }
        self._record(
            kind="clip", clip=asdict(clip), source=asdict(source) if source else None, streams=streams
        )

    def rename(self, row: Row, clip: Clip) -> None:
        """Move everything stored for a clip to another id or split; its arrays stay in their shards."""
        self.adopt(clip, row.source, row.entries)
        self.remove(row.clip)

    def remove(self, clip: Clip) -> None:
        """Remove a clip and everything stored for it; its arrays stay in their shards."""
        self._record(kind="remove", split=clip.split, id=clip.id)

    def drop(self, clip: Clip, streams: list[str]) -> None:
        """Remove streams of a clip from the store, so that the next run extracts them again."""
        self._record(kind="drop", split=clip.split, id=clip.id, streams=streams)

    def pass_over(self, line: journal.InvalidLine) -> None:
        """Mark an invalid journal line as known, so that it is no longer reported."""
        self._record(kind="pass", journal=line.journal, line=line.line)

    def flush(self) -> None:
        """Write the current shard, then journal its outcomes.

        Raises:
            StoreError: the disk is full or cannot be written. The outcomes are kept for another attempt.
        """
        if self._shard is not None and self._shard.arrays:
            self._shard.write()
        if self._records:
            try:
                journal.append(self._journal, [*self._opening, *self._records])
            except OSError as error:
                raise cannot_write(self._journal, error) from error
            self._opening = []
        self._shard, self._records = None, []

    def _add_arrays(self, outcome: Outcome) -> Entry:
        assert self._shard is not None
        arrays = {
            name: self._shard.add(f"{outcome.key.digest}/{name}", array)
            for name, array in outcome.arrays.items()
        }
        return Entry(outcome.key, outcome.status, outcome.reason, outcome.info, arrays)

    def _declare(self, key: FeatureKey) -> None:
        if key.digest not in self._declared:
            self._declared.add(key.digest)
            self._record(kind="key", digest=key.digest, stream=key.stream, settings=dict(key.settings))

    def _record(self, **record: Any) -> None:
        self._records.append({"time": time.time_ns(), **record})
