"""Verifies, repairs and exports a store."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py

from . import durable
from .errors import StoreError
from .journal import InvalidLine
from .rows import Row
from .shards import cannot_write, reason, unlocked
from .store import FeatureStore


def damaged(store: FeatureStore) -> Iterator[tuple[Row, str, str]]:
    """Read every array once; yield ``(row, stream, reason)`` for each stream that is damaged."""
    for row in store:
        for stream in row.entries:
            if row.has(stream):
                try:
                    store.read(row, stream)
                except StoreError as error:
                    yield row, stream, str(error)


@dataclass(frozen=True)
class Findings:
    """Problems found in a store.

    Attributes:
        damaged: row, stream and reason for each stream with damaged arrays.
        senseless: invalid journal lines.
        unused: shards that no journal mentions.
    """

    damaged: Sequence[tuple[Row, str, str]]
    senseless: Sequence[InvalidLine]
    unused: Sequence[str]

    def __bool__(self) -> bool:
        return bool(self.damaged or self.senseless or self.unused)


def inspect(store: FeatureStore) -> Findings:
    """Read everything in ``store`` once and return the problems found."""
    return Findings(list(damaged(store)), store.senseless, unused(store))


def repair(store: FeatureStore, findings: Findings) -> None:
    """Remove damaged streams from ``store``, so that the next run extracts them again, and unused shards.

    Raises:
        StoreError: the disk is full or cannot be written.
    """
    if findings.damaged or findings.senseless:
        with store.writer() as writer:
            for row, stream, _ in findings.damaged:
                writer.drop(row.clip, [stream])
            for line in findings.senseless:
                writer.pass_over(line)
    for shard in findings.unused:
        path = store.path / "shards" / shard
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise cannot_write(path, error) from error


_SHARD = rb'"(' + re.escape(durable.HOST).encode() + rb'-\d+-[0-9a-f]+-\d+\.h5)"'
"""A shard of this machine, as named in a journal."""


def unused(store: FeatureStore) -> list[str]:
    """Return shards that no journal mentions and whose writer has ended.

    A process that is killed after writing a shard and before writing its journal line leaves one behind.
    """
    found = set()
    for path in (store.path / "shards").glob(f"{durable.HOST}-*.h5"):
        process = re.fullmatch(rf"{durable.HOST}-(\d+)-[0-9a-f]+-\d+\.h5", path.name)
        if process and not durable.is_running(int(process[1])):
            found.add(path.name)
    for journal in (store.path / "journal").glob("*.jsonl") if found else ():
        with journal.open("rb") as lines:  # superseded lines count too: an open reader may still use them
            for line in lines:
                found.difference_update(map(bytes.decode, re.findall(_SHARD, line)))
    return sorted(found)


def export(store: FeatureStore, path: Path) -> int:
    """Write all of ``store`` into one self-contained HDF5 file; return the number of clips.

    Layout: ``/clips/<split>/<id>`` with attributes ``label``, ``subject``, ``session``, ``path`` and
    ``sha256``; below it, one group per stream (attributes ``status``, ``reason``, ``info`` and ``key``) with
    its arrays ``[T, ...]``; and ``/keys``, whose attributes hold each key's settings as JSON.

    Raises:
        StoreError: the store is empty or damaged, or the file cannot be written.
    """
    rows = store.rows
    if not rows:
        raise StoreError(f"{store.path} holds no clips yet, so there is nothing to export")
    try:
        with durable.replacing(path) as temporary, unlocked(temporary, "w") as file:
            keys = file.create_group("keys")
            for digest, key in store.keys.items():
                keys.attrs[digest] = json.dumps({"stream": key.stream, "settings": dict(key.settings)})
            for row in rows:
                _export_row(store, row, file.create_group(f"clips/{row.clip.split}/{row.clip.id}"))
    except (OSError, RuntimeError, ValueError) as error:  # on a full disk h5py raises any of these
        raise StoreError(f"cannot write {path}: {reason(error)}") from error
    return len(rows)


def _export_row(store: FeatureStore, row: Row, group: h5py.Group) -> None:
    clip = row.clip
    attributes = {"label": clip.label, "subject": clip.subject, "session": clip.session, "path": clip.path}
    group.attrs.update({name: text or "" for name, text in attributes.items()})
    group.attrs["sha256"] = row.source.sha256 if row.source else ""
    for stream, entry in row.entries.items():
        sub = group.create_group(stream)
        sub.attrs.update({"status": entry.status, "reason": entry.reason, "key": entry.key.digest})
        sub.attrs["info"] = json.dumps(dict(entry.info))
        if entry.status == "ok":
            for name, array in store.read(row, stream).items():
                sub.create_dataset(name, data=array)
