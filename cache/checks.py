"""Checks and exports a store."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import h5py

from . import durable
from .errors import StoreError
from .rows import Row
from .shards import reason
from .store import FeatureStore


def damaged(store: FeatureStore) -> Iterator[tuple[Row, str, str]]:
    """Read every array once; yield ``(row, stream, what is wrong)`` for each that is not as written."""
    for row in store.rows:
        for stream in row.entries:
            if row.has(stream):
                try:
                    store.read(row, stream)
                except StoreError as error:
                    yield row, stream, str(error)


def export(store: FeatureStore, path: Path) -> int:
    """Write all of ``store`` into one self-contained HDF5 file; the number of clips in it.

    Layout: ``/clips/<split>/<id>`` with attributes ``label``, ``subject``, ``session``, ``path``,
    ``sha256``; below it a group a stream (attributes ``status``, ``reason``, ``info``, ``key``) with its
    arrays ``[T, ...]``; and ``/keys``, whose attributes hold each key's settings as JSON.

    Raises:
        StoreError: the store is empty or damaged, or the file cannot be written.
    """
    if not store.rows:
        raise StoreError(f"{store.path} holds no clips yet, so there is nothing to export")
    try:
        with durable.replacing(path) as temporary, h5py.File(temporary, "w") as file:
            keys = file.create_group("keys")
            for digest, key in store.keys.items():
                keys.attrs[digest] = json.dumps({"stream": key.stream, "settings": dict(key.settings)})
            for row in store.rows:
                _export_row(store, row, file.create_group(f"clips/{row.clip.split}/{row.clip.id}"))
    except (OSError, RuntimeError, ValueError) as error:  # on a full disk h5py raises any of these
        raise StoreError(f"cannot write {path}: {reason(error)}") from error
    return len(store.rows)


def _export_row(store: FeatureStore, row: Row, group: h5py.Group) -> None:
    clip = row.clip
    told = {"label": clip.label, "subject": clip.subject, "session": clip.session, "path": clip.path}
    group.attrs.update({name: text or "" for name, text in told.items()})
    group.attrs["sha256"] = row.source.sha256 if row.source else ""
    for stream, entry in row.entries.items():
        sub = group.create_group(stream)
        sub.attrs.update({"status": entry.status, "reason": entry.reason, "key": entry.key.digest})
        sub.attrs["info"] = json.dumps(dict(entry.info))
        if entry.status == "ok":
            for name, array in store.read(row, stream).items():
                sub.create_dataset(name, data=array)
