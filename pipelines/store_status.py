"""Count what a store holds, and format the counts as text."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import prod
from typing import Any

from ..cache.keys import FeatureKey
from ..cache.order import natural
from ..cache.rows import Entry, Row
from ..cache.shards import READ_ERRORS, own_dataset, unlocked
from ..cache.store import FeatureStore
from .cli.table import Columns, aligned, table
from .corpora.clips.found import counts_of

STATUSES = ("ok", "absent", "failed")
FAILURES_SHOWN = 20

Record = dict[str, Any]


def store_status(store: FeatureStore) -> Record:
    """Count clips, labels, frames with faces, streams and failures; return JSON values."""
    splits: dict[str, SplitCounts] = defaultdict(SplitCounts)
    streams: dict[tuple[str, str], StreamCounts] = {}
    failures, stages = [], Counter[str]()
    for row in store:
        splits[row.clip.split].add(row)
        for name, entry in row.entries.items():
            streams.setdefault((name, entry.key.digest), StreamCounts(entry.key)).add(entry)
        failures += [(row.clip, stream, reason) for stream, reason in row.failures.items()]
        stages.update(stages_of(row))
    sizes = _row_bytes(store, streams.values())
    return {
        "store": str(store.path),
        "clips": sum(split.clips for split in splits.values()),
        "splits": {name: splits[name].record() for name in sorted(splits, key=natural)},
        "streams": [stream.record(sizes) for _, stream in sorted(streams.items())],
        "failed_stages": dict(stages.most_common()),
        "failures": [
            {"split": clip.split, "clip": clip.id, "stream": stream, "reason": reason}
            for clip, stream, reason in sorted(failures, key=lambda each: [*map(natural, each[0].key)])
        ],
    }


class SplitCounts:
    """Counts over the clips of a split."""

    def __init__(self) -> None:
        self.clips = self.unlabelled = self.frames = self.frames_with_face = self.clips_without_face = 0
        self.with_sound = self.failed = 0
        self.labels: Counter[str] = Counter()

    def add(self, row: Row) -> None:
        """Count a clip."""
        self.clips += 1
        self.with_sound += row.has("spectrogram")
        self.failed += bool(row.failures)
        self.unlabelled += not row.clip.label
        if row.clip.label:
            self.labels[row.clip.label] += 1
        if row.has("faces"):
            info = row.entries["faces"].info
            self.frames += info.get("frames", 0)
            self.frames_with_face += info.get("faces", 0)
            self.clips_without_face += not row.has_face

    def record(self) -> Record:
        """Return the counts as JSON values."""
        return {
            "clips": self.clips,
            "labels": dict(sorted(self.labels.items())),
            "unlabelled": self.unlabelled,
            "frames": self.frames,
            "frames_with_face": self.frames_with_face,
            "clips_without_face": self.clips_without_face,
        }


class StreamCounts:
    """Counts of a stream with one key: clips by status, and rows of their arrays."""

    def __init__(self, key: FeatureKey) -> None:
        self.key = key
        self.statuses: Counter[str] = Counter()
        self.rows: Counter[tuple[str, str]] = Counter()

    def add(self, entry: Entry) -> None:
        """Count a clip's outcome."""
        self.statuses[entry.status] += 1
        for ref in entry.arrays.values():
            self.rows[ref.shard, ref.dataset] += ref.stop - ref.start

    def record(self, sizes: Mapping[tuple[str, str], int]) -> Record:
        """Return the counts as JSON values; ``sizes`` gives the bytes per row of each data set."""
        return {
            "stream": self.key.stream,
            "key": self.key.digest,
            **{status: self.statuses[status] for status in STATUSES},
            "bytes": sum(rows * sizes.get(place, 0) for place, rows in self.rows.items()),
            **_import(self.key),
        }


def poll(store: FeatureStore, clips: int) -> Iterator[tuple[int, int]]:
    """Poll the store until it holds ``clips``; yield the numbers of clips stored and failed.

    Reading the journals takes at most a tenth of the time.
    """
    while True:
        began = time.monotonic()
        store.refresh()
        failures = [bool(row.failures) for row in store]
        yield len(failures), sum(failures)
        if len(failures) >= clips:
            return
        time.sleep(max(2.0, 9 * (time.monotonic() - began)))


def status_text(status: Record) -> str:
    """Format a status as tables, followed by the first failures with their reasons."""
    parts = [f"{status['store']}: {status['clips']} clips"]
    if status["clips"]:
        parts += [_split_table(status["splits"]), _label_table(status["splits"])]
    if status["streams"]:
        parts.append(_stream_table(status["streams"]))
    if any("imported" in stream for stream in status["streams"]):
        parts.append(_imports(status["streams"]))
    if status["failures"]:
        parts.append(_failures(status["failures"], status["failed_stages"]))
    return "\n\n".join(parts)


def stages_of(row: Row) -> set[str]:
    """Return the stages of extraction in which a clip failed; several if several streams failed."""
    return {str(row.entries[stream].info.get("stage", "stage unknown")) for stream in row.failures}


def _import(key: FeatureKey) -> Record:
    """Describe features made elsewhere; empty for others."""
    settings = {name: key.settings.get(name) for name in ("dimensions", "fps", "note")}
    return {"imported": settings} if key.settings.get("imported") else {}


def _row_bytes(store: FeatureStore, streams: Iterable[StreamCounts]) -> dict[tuple[str, str], int]:
    """Return the bytes per row of each (shard, data set) in use, without those that cannot be opened."""
    used: dict[str, set[str]] = defaultdict(set)
    for shard, dataset in (place for stream in streams for place in stream.rows):
        used[shard].add(dataset)
    sizes = {}
    for shard, names in used.items():
        try:
            with unlocked(store.path / "shards" / shard) as file:
                for name in names:
                    dataset = own_dataset(file, name)
                    sizes[shard, name] = dataset.dtype.itemsize * prod(dataset.shape[1:])
        except READ_ERRORS:  # `avemo store verify` names these
            continue
    return sizes


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
    return table(({"split": name, **counts} for name, counts in splits.items()), columns)


def _label_table(splits: Record) -> str:
    labels = sorted({label for counts in splits.values() for label in counts["labels"]})
    rows = [[label, *(counts["labels"].get(label, 0) for counts in splits.values())] for label in labels]
    if any(counts["unlabelled"] for counts in splits.values()):
        rows.append(["(no label)", *(counts["unlabelled"] for counts in splits.values())])
    return aligned(["label", *splits], rows)


def _stream_table(streams: Sequence[Record]) -> str:
    statuses = {name: name for name in ("stream", "key", *STATUSES)}
    return table(streams, {**statuses, "size": lambda each: f"{each['bytes'] / 1e6:.1f} MB"})


def _imports(streams: Sequence[Record]) -> str:
    lines = []
    for stream in streams:
        settings = stream.get("imported")
        if settings:
            rate = f", {settings['fps']:g} a second" if settings["fps"] else ""
            note = f"; {settings['note']}" if settings["note"] else ""
            lines.append(f"  {stream['stream']}: {settings['dimensions']} values a vector{rate}{note}")
    return "\n".join(["imported:", *lines])


def _failures(failures: Sequence[Record], stages: Mapping[str, int]) -> str:
    lines = [
        f"  {failure['split']}/{failure['clip']}, {failure['stream']}: {failure['reason']}"
        for failure in failures[:FAILURES_SHOWN]
    ]
    if len(failures) > FAILURES_SHOWN:
        lines.append(f"  and {len(failures) - FAILURES_SHOWN} more (--json lists all)")
    return "\n".join([f"failed in {counts_of(stages)}:", *lines])
