"""What a store holds, counted and as text."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

import h5py

from ..cache.keys import FeatureKey
from ..cache.rows import Entry, Row
from ..cache.shards import READING, own_dataset
from ..cache.store import FeatureStore
from .cli.table import Columns, aligned, table

STATUSES = ("ok", "absent", "failed")
FAILURES_SHOWN = 20

Record = dict[str, Any]


def store_status(store: FeatureStore) -> Record:
    """Counts of clips, labels, frames with faces, streams and failures, as JSON values."""
    splits: dict[str, list[Row]] = defaultdict(list)
    for row in store.rows:
        splits[row.clip.split].append(row)
    return {
        "store": str(store.path),
        "clips": len(store.rows),
        "splits": {name: _split(rows) for name, rows in splits.items()},
        "streams": _streams(store),
        "failures": [
            {"split": row.clip.split, "clip": row.clip.id, "stream": stream, "reason": reason}
            for row in store.rows
            for stream, reason in row.failures.items()
        ],
    }


def status_text(found: Record) -> str:
    """A report as tables, and the first failures with their reasons."""
    parts = [f"{found['store']}: {found['clips']} clips"]
    if found["clips"]:
        parts += [_split_table(found["splits"]), _label_table(found["splits"])]
    if found["streams"]:
        parts.append(_stream_table(found["streams"]))
    if any("imported" in stream for stream in found["streams"]):
        parts.append(_imports(found["streams"]))
    if found["failures"]:
        parts.append(_failures(found["failures"]))
    return "\n\n".join(parts)


def _split(rows: Sequence[Row]) -> Record:
    faces = [row.entries["faces"].info for row in rows if row.has("faces")]
    return {
        "clips": len(rows),
        "labels": dict(sorted(Counter(row.clip.label for row in rows if row.clip.label).items())),
        "unlabelled": sum(not row.clip.label for row in rows),
        "frames": sum(info.get("frames", 0) for info in faces),
        "frames_with_face": sum(info.get("faces", 0) for info in faces),
        "clips_without_face": sum(row.has("faces") and not row.has_face for row in rows),
    }


def _streams(store: FeatureStore) -> list[Record]:
    """For each stream and key: clips of each status, and bytes of their arrays."""
    groups: dict[tuple[str, str], list[Entry]] = defaultdict(list)
    for row in store.rows:
        for stream, entry in row.entries.items():
            groups[stream, entry.key.digest].append(entry)
    sizes = _row_bytes(store)
    return [
        {
            "stream": stream,
            "key": digest,
            **{status: sum(entry.status == status for entry in entries) for status in STATUSES},
            "bytes": sum(_bytes(entry, sizes) for entry in entries),
            **_import(entries[0].key),
        }
        for (stream, digest), entries in sorted(groups.items())
    ]


def _import(key: FeatureKey) -> Record:
    """What is known of features that were made elsewhere."""
    known = {name: key.settings.get(name) for name in ("dimensions", "fps", "note")}
    return {"imported": known} if key.settings.get("imported") else {}


def _row_bytes(store: FeatureStore) -> dict[tuple[str, str], int]:
    """Bytes of one row of each (shard, data set) in use; those that cannot be opened are left out."""
    used: dict[str, set[str]] = defaultdict(set)
    for entry in (entry for row in store.rows for entry in row.entries.values()):
        for ref in entry.arrays.values():
            used[ref.shard].add(ref.dataset)
    sizes = {}
    for shard, names in used.items():
        try:
            with h5py.File(store.path / "shards" / shard, "r") as file:
                for name in names:
                    dataset = own_dataset(file, name)
                    sizes[shard, name] = dataset.dtype.itemsize * prod(dataset.shape[1:])
        except READING:  # `verify` tells of these
            continue
    return sizes


def _bytes(entry: Entry, sizes: Mapping[tuple[str, str], int]) -> int:
    return sum(
        (ref.stop - ref.start) * sizes.get((ref.shard, ref.dataset), 0) for ref in entry.arrays.values()
    )


def _split_table(splits: Record) -> str:
    columns: Columns = {
        "split": "split",
        "clips": "clips",
        "frames": "frames",
        "with face": lambda each: (
            f"{each['frames_with_face'] / each['frames']:.1%}" if each["frames"] else None
        ),
        "clips without any": "clips_without_face",
    }
    return table(({"split": name, **found} for name, found in splits.items()), columns)


def _label_table(splits: Record) -> str:
    labels = sorted({label for found in splits.values() for label in found["labels"]})
    rows = [[label, *(found["labels"].get(label, 0) for found in splits.values())] for label in labels]
    if any(found["unlabelled"] for found in splits.values()):
        rows.append(["(no label)", *(found["unlabelled"] for found in splits.values())])
    return aligned(["label", *splits], rows)


def _stream_table(streams: Sequence[Record]) -> str:
    statuses = {name: name for name in ("stream", "key", *STATUSES)}
    return table(streams, {**statuses, "size": lambda each: f"{each['bytes'] / 1e6:.1f} MB"})


def _imports(streams: Sequence[Record]) -> str:
    lines = []
    for stream in streams:
        known = stream.get("imported")
        if known:
            rate = f", {known['fps']:g} a second" if known["fps"] else ""
            note = f"; {known['note']}" if known["note"] else ""
            lines.append(f"  {stream['stream']}: {known['dimensions']} values a vector{rate}{note}")
    return "\n".join(["imported:", *lines])


def _failures(failures: Sequence[Record]) -> str:
    lines = [
        f"  {found['split']}/{found['clip']}, {found['stream']}: {found['reason']}"
        for found in failures[:FAILURES_SHOWN]
    ]
    if len(failures) > FAILURES_SHOWN:
        lines.append(f"  and {len(failures) - FAILURES_SHOWN} more (--json lists all)")
    return "\n".join(["failed:", *lines])
