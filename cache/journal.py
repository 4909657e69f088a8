"""Append-only JSON-lines journals: what a store holds, told by those who wrote it.

Each writer has a journal of its own; readers take the union, ordered by time. A line is appended and
synced only after the shard it speaks of is in place, so a torn last line (power cut, full disk) costs
nothing that was promised.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

Record = dict[str, Any]


def append(path: Path, records: Iterable[Record]) -> None:
    """Append ``records`` to the journal at ``path`` and sync it to disk."""
    text = "".join(json.dumps(record, ensure_ascii=False, separators=(",", ":")) + "\n" for record in records)
    with path.open("ab") as file:
        file.write(text.encode())
        file.flush()
        os.fsync(file.fileno())


def read_all(folder: Path) -> list[Record]:
    """All records of all journals in ``folder``, oldest first."""
    records = [record for path in sorted(folder.glob("*.jsonl")) for record in _read(path)]
    return sorted(records, key=lambda record: record.get("time", 0))


def _read(path: Path) -> Iterator[Record]:
    with path.open("rb") as file:
        for line in file:
            try:
                record = json.loads(line)
            except ValueError:  # a torn line: its shard was never promised
                continue
            if isinstance(record, dict):
                yield record
