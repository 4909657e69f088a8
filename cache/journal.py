"""Append-only JSON-lines journals: the records of what a store holds.

Each writer has a journal of its own. A line is appended and synced only after the shard that it speaks of is
in place, so a torn last line (power cut, full disk) costs nothing that was promised.

Order needs no clock. Within a journal it is that of the lines. A journal begins with what its writer found
of the other journals when it was opened, as numbers of lines, so a record follows those lines and no others
of theirs. Two records of which neither follows the other are concurrent. Journals written before there was
such a beginning have only the time of each record, and precede the others.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any

import xxhash

from . import durable

Record = dict[str, Any]
OPENING = "writer"
"""The kind of the record that a journal begins with."""
LONGEST_LINE = 64 << 20
"""Bytes. A clip takes some hundred a stream; a longer line is cut, and its parts make no sense."""
_SUM = re.compile(rb',"sum":"([0-9a-f]{16})"\}\r?\n?\Z')


@dataclass(frozen=True)
class Stamp:
    """A record's position among all records.

    Attributes:
        journal: the file's name.
        line: from 1.
        seen: journal → how many of its lines the writer had found; None where only times are known.
        order: sorts records so that each comes after those that it follows.
    """

    journal: str
    line: int
    seen: Mapping[str, int] | None
    order: tuple[int, float, str, int]

    def follows(self, other: Stamp) -> bool:
        """Whether the writer knew of ``other``."""
        if self.journal == other.journal:
            return self.line > other.line
        if self.seen is None:
            return other.seen is None and self.order > other.order
        return other.line <= self.seen.get(other.journal, 0)

    def __str__(self) -> str:
        return f"{self.journal}, line {self.line}"


@dataclass(frozen=True)
class Senseless:
    """An invalid line of a journal, and why."""

    journal: str
    line: int
    why: str

    def __str__(self) -> str:
        return f"{self.journal}, line {self.line} makes no sense ({self.why})"


def opening(folder: Path) -> Record:
    """What a new journal in ``folder`` begins with."""
    seen = {path.name: _count_lines(path) for path in sorted(folder.glob("*.jsonl"))}
    return {"time": time.time_ns(), "kind": OPENING, "seen": seen}


def _count_lines(path: Path) -> int:
    with path.open("rb") as file:
        return sum(part.count(b"\n") for part in iter(partial(file.read, 1 << 20), b""))


def seen_at(opening: Record) -> dict[str, int] | None:
    """Journal → number of lines in what a journal begins with; None where that makes no sense."""
    seen = opening.get("seen")
    return seen if isinstance(seen, dict) and all(isinstance(n, int) for n in seen.values()) else None


def append(path: Path, records: Iterable[Record]) -> None:
    """Append ``records`` to the journal at ``path``, each with its checksum, and sync it to disk."""
    durable.append(path, b"".join(map(_line, records)))


def _line(record: Record) -> bytes:
    text = json.dumps(record, ensure_ascii=False, separators=(",", ":"))
    content = text.encode(errors="surrogatepass")  # names of files need not be text
    return content[:-1] + b',"sum":"%s"}\n' % xxhash.xxh3_64_hexdigest(content).encode()


def read_all(folder: Path) -> tuple[list[tuple[Stamp, Record]], list[Senseless]]:
    """All records of all journals in ``folder``, ordered, and the lines that are none."""
    records: list[tuple[Stamp, Record]] = []
    senseless: list[Senseless] = []
    for path in sorted(folder.glob("*.jsonl")):
        found = list(_read(path))
        lines = [(number, line) for number, line in found if isinstance(line, dict)]
        senseless += [Senseless(path.name, number, line) for number, line in found if isinstance(line, str)]
        records += _stamped(path.name, lines)
    return sorted(records, key=lambda pair: pair[0].order), senseless


def _read(path: Path) -> Iterator[tuple[int, Record | str]]:
    """Each line's number and record, or what is wrong with it."""
    summed = False
    with path.open("rb") as file:
        for number, line in enumerate(_lines(file), start=1):
            try:
                record = json.loads(line)
            except (ValueError, RecursionError) as error:
                if (
                    line.endswith(b"\n") or len(line) == LONGEST_LINE
                ):  # else torn: its shard was never promised
                    yield number, str(error)
                continue
            found = _SUM.search(line)
            yield number, _checked(record, line, found, summed)
            summed = summed or found is not None


def _lines(file: IO[bytes]) -> Iterator[bytes]:
    """The lines of a file; of one that is too long, the beginning."""
    while line := file.readline(LONGEST_LINE):
        yield line
        while len(line) == LONGEST_LINE and not line.endswith(b"\n"):
            line = file.readline(LONGEST_LINE)


def _checked(record: object, line: bytes, found: re.Match[bytes] | None, summed: bool) -> Record | str:
    """A line's record, or what is wrong with it. Journals written before there were checksums have none."""
    if not isinstance(record, dict):
        return "not an object"
    if found:
        del record["sum"]
        if xxhash.xxh3_64_hexdigest(line[: found.start()] + b"}") != found[1].decode():
            return "its checksum differs"
    elif summed or "sum" in record:
        return "its checksum is damaged"
    return record


def _stamped(journal: str, lines: list[tuple[int, Record]]) -> Iterator[tuple[Stamp, Record]]:
    openings = (seen_at(record) for _, record in lines if record.get("kind") == OPENING)
    seen = next((seen for seen in openings if seen is not None), None)
    if seen is None:
        latest = 0.0
        for number, record in lines:
            at = record.get("time")
            latest = max(latest, at) if isinstance(at, (int, float)) else latest  # clocks step back
            yield Stamp(journal, number, None, (0, latest, journal, number)), record
        return
    # Who found a line found all that its writer had found too, and so more lines in all than that one.
    before = sum(seen.values())
    for number, record in lines:
        yield Stamp(journal, number, seen, (1, before + number, journal, number)), record
