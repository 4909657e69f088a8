"""Append-only JSON-lines journals: the records of what a store holds.

Each writer has a journal of its own. A line is appended and synced only after the shard it refers to is in
place, so a torn last line (power cut, full disk) loses nothing that was acknowledged.

Records are ordered without clocks. Within a journal, the order is that of the lines. A journal opens with the
number of lines that its writer found in each of the other journals; its records follow those lines and no
others. Two records are concurrent if neither follows the other. Journals of older versions have no such
opening record, only a time for each record; they precede all others.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import xxhash

from . import durable
from .clips import ClipKey

Record = dict[str, Any]
OPENING = "writer"
"""The kind of a journal's opening record."""

LONGEST_LINE = 64 << 20
"""Maximum bytes of a line. A clip takes a few hundred per stream; a longer line is cut, and so invalid."""

_SUM = re.compile(rb',"sum":"([0-9a-f]{16})"\}\r?\n?\Z')
_TEXT = rb'"([^"\\]*)"'
_OF_CLIP = re.compile(
    rb'\{"time":(\d{1,19}),"kind":"(?:'
    rb'clip","clip":\{"id":' + _TEXT + rb',"split":' + _TEXT + rb"|"
    rb'(?:drop|remove)","split":' + _TEXT + rb',"id":' + _TEXT + rb")"
)
"""The beginning of a clip's record, as written by :func:`append`."""


@dataclass(frozen=True)
class Stamp:
    """A record's position among all records.

    Attributes:
        journal: name of the journal file.
        line: line number, from 1.
        seen: journal → number of its lines that the writer had found; None if only times are known.
        order: sort key that puts each record after the ones it follows.
    """

    journal: str
    line: int
    seen: Mapping[str, int] | None
    order: tuple[int, float, str, int]

    def follows(self, other: Stamp) -> bool:
        """Whether this record's writer knew of ``other``."""
        if self.journal == other.journal:
            return self.line > other.line
        if self.seen is None:
            return other.seen is None and self.order > other.order
        return other.line <= self.seen.get(other.journal, 0)


@dataclass(frozen=True)
class InvalidLine:
    """An invalid line of a journal, and why."""

    journal: str
    line: int
    why: str

    def __str__(self) -> str:
        return f"{self.journal}, line {self.line} is invalid ({self.why})"


class Journal:
    """One journal, read up to some line.

    Attributes:
        path: the file.
        lines: number of complete lines read so far.
        end: offset of the next line in bytes.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lines = 0
        self.end = 0
        self._first_summed_line: int | None = None
        self._seen: dict[str, int] | None = None
        self._lines_before = 0
        self._times: list[float] = []

    def unread_lines(self) -> Iterator[tuple[int, int, bytes]]:
        """Yield each unread line as its number, its offset and its bytes.

        A last line without a line break may be torn or still being written; it is yielded again next time.
        """
        with self.path.open("rb") as file:
            file.seek(self.end)
            while line := file.readline(LONGEST_LINE):
                if self._first_summed_line is None and _SUM.search(line):
                    self._first_summed_line = self.lines + 1
                yield self.lines + 1, self.end, line
                while len(line) == LONGEST_LINE and not line.endswith(b"\n"):
                    line = file.readline(LONGEST_LINE)
                if line.endswith(b"\n"):
                    self.lines += 1
                    self.end = file.tell()

    def record(self, line: int, content: bytes) -> Record:
        """Return the record of a line.

        A line without a checksum is valid only before the journal's first line with one: older versions wrote
        no checksums.

        Raises:
            ValueError: the line is not a record, or is damaged.
        """
        return parse(content, self._first_summed_line is not None and self._first_summed_line < line)

    def apply_opening(self, record: Record) -> None:
        """Apply the journal's opening record.

        Raises:
            ValueError: the record is invalid.
        """
        seen = record.get("seen")
        if not isinstance(seen, dict) or not all(isinstance(count, int) for count in seen.values()):
            raise ValueError(f"{seen!r} is not a count of lines by journal")
        if self._seen is None:
            # A writer that found a line had also found every line that the line's writer had, so its total is
            # larger, and sorting by these totals keeps the order.
            self._seen, self._lines_before, self._times = seen, sum(seen.values()), []

    def note_time(self, line: int, at: object) -> None:
        """Note the at of a record, which is used only in a journal without an opening record."""
        if self._seen is None:
            latest = self._times[-1] if self._times else 0.0
            latest = max(latest, at) if isinstance(at, (int, float)) else latest  # clocks may step back
            self._times[line - 1 :] = [latest]

    def stamp(self, line: int) -> Stamp:
        """Return the stamp of a line that has been read."""
        if self._seen is None:
            return Stamp(self.path.name, line, None, (0, self._times[line - 1], self.path.name, line))
        return Stamp(self.path.name, line, self._seen, (1, self._lines_before + line, self.path.name, line))


def opening(folder: Path) -> Record:
    """Return the opening record of a new journal in ``folder``."""
    seen = {path.name: _count_lines(path) for path in sorted(folder.glob("*.jsonl"))}
    return {"time": time.time_ns(), "kind": OPENING, "seen": seen}


def _count_lines(path: Path) -> int:
    with path.open("rb") as file:
        return sum(part.count(b"\n") for part in iter(partial(file.read, 1 << 20), b""))


def append(path: Path, records: Iterable[Record]) -> None:
    """Append ``records`` to the journal at ``path``, each with its checksum, and sync it to disk."""
    durable.append(path, b"".join(map(_line, records)))


def _line(record: Record) -> bytes:
    text = json.dumps(record, ensure_ascii=False, separators=(",", ":"))
    content = text.encode(errors="surrogatepass")  # file names need not be valid text
    return content[:-1] + b',"sum":"%s"}\n' % xxhash.xxh3_64_hexdigest(content).encode()


def clip_of(line: bytes) -> tuple[int, ClipKey] | None:
    """Return at and clip of a line from its beginning, without parsing it; None if that is not possible."""
    found = _OF_CLIP.match(line)
    if not found:
        return None
    at, first_id, first_split, second_split, second_id = found.groups()
    split, name = (first_split, first_id) if second_id is None else (second_split, second_id)
    try:
        return int(at), (split.decode(errors="surrogatepass"), name.decode(errors="surrogatepass"))
    except UnicodeDecodeError:
        return None


def parse(line: bytes, require_sum: bool = True) -> Record:
    """Parse a line into a record.

    Args:
        line: the line's bytes.
        require_sum: whether a checksum is required.

    Raises:
        ValueError: the line is not a record, or is damaged.
    """
    try:
        record = json.loads(line)
    except RecursionError as error:
        raise ValueError(str(error)) from error
    if not isinstance(record, dict):
        raise ValueError("not an object")
    found = _SUM.search(line)
    if found:
        del record["sum"]
        if xxhash.xxh3_64_hexdigest(line[: found.start()] + b"}") != found[1].decode():
            raise ValueError("its checksum differs")
    elif require_sum or "sum" in record:
        raise ValueError("its checksum is damaged")
    return record
