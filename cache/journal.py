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
from typing import Any

import xxhash

from . import durable
from .clips import ClipKey

Record = dict[str, Any]
OPENING = "writer"
"""The kind of the record that a journal begins with."""

LONGEST_LINE = 64 << 20
"""Bytes. A clip takes some hundred a stream; a longer line is cut, and its parts make no sense."""

_SUM = re.compile(rb',"sum":"([0-9a-f]{16})"\}\r?\n?\Z')
_TEXT = rb'"([^"\\]*)"'
_OF_CLIP = re.compile(
    rb'\{"time":(\d{1,19}),"kind":"(?:'
    rb'clip","clip":\{"id":' + _TEXT + rb',"split":' + _TEXT + rb"|"
    rb'(?:drop|remove)","split":' + _TEXT + rb',"id":' + _TEXT + rb")"
)
"""How :func:`append` begins a record of a clip."""


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


@dataclass(frozen=True)
class Senseless:
    """An invalid line of a journal, and why."""

    journal: str
    line: int
    why: str

    def __str__(self) -> str:
        return f"{self.journal}, line {self.line} makes no sense ({self.why})"


class Journal:
    """One journal, read up to some line.

    Attributes:
        path: the file.
        lines: how many whole lines were read.
        end: where the next begins, in bytes.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lines = 0
        self.end = 0
        self._summed: int | None = None
        self._seen: dict[str, int] | None = None
        self._before = 0
        self._latest: list[float] = []

    def new(self) -> Iterator[tuple[int, int, bytes]]:
        """Lines that were not read yet: number, where it begins, and its bytes.

        A last line without an end may be torn, or still being written, and comes again the next time.
        """
        with self.path.open("rb") as file:
            file.seek(self.end)
            while line := file.readline(LONGEST_LINE):
                if self._summed is None and _SUM.search(line):
                    self._summed = self.lines + 1
                yield self.lines + 1, self.end, line
                while len(line) == LONGEST_LINE and not line.endswith(b"\n"):
                    line = file.readline(LONGEST_LINE)
                if line.endswith(b"\n"):
                    self.lines += 1
                    self.end = file.tell()

    def record(self, line: int, content: bytes) -> Record:
        """The record of a line. Only journals that were begun before there were checksums have lines without.

        Raises:
            ValueError: it is none, or damaged.
        """
        return parse(content, self._summed is not None and self._summed < line)

    def open_with(self, record: Record) -> None:
        """Take in what the journal begins with.

        Raises:
            ValueError: it makes no sense.
        """
        seen = record.get("seen")
        if not isinstance(seen, dict) or not all(isinstance(count, int) for count in seen.values()):
            raise ValueError(f"{seen!r} does not count lines of journals")
        if self._seen is None:
            # Who found a line found all that its writer had found too, and so more lines in all than it.
            self._seen, self._before, self._latest = seen, sum(seen.values()), []

    def note_time(self, line: int, at: object) -> None:
        """Note the time of a record; it counts only in a journal without a beginning."""
        if self._seen is None:
            latest = self._latest[-1] if self._latest else 0.0
            latest = max(latest, at) if isinstance(at, (int, float)) else latest  # clocks step back
            self._latest[line - 1 :] = [latest]

    def stamp(self, line: int) -> Stamp:
        """The stamp of a line that was read."""
        if self._seen is None:
            return Stamp(self.path.name, line, None, (0, self._latest[line - 1], self.path.name, line))
        return Stamp(self.path.name, line, self._seen, (1, self._before + line, self.path.name, line))


def opening(folder: Path) -> Record:
    """What a new journal in ``folder`` begins with."""
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
    content = text.encode(errors="surrogatepass")  # names of files need not be text
    return content[:-1] + b',"sum":"%s"}\n' % xxhash.xxh3_64_hexdigest(content).encode()


def clip_of(line: bytes) -> tuple[int, ClipKey] | None:
    """Time and clip of a line, by a glance at its beginning; None where that does not tell them."""
    found = _OF_CLIP.match(line)
    if not found:
        return None
    at, first_id, first_split, second_split, second_id = found.groups()
    split, name = (first_split, first_id) if second_id is None else (second_split, second_id)
    try:
        return int(at), (split.decode(errors="surrogatepass"), name.decode(errors="surrogatepass"))
    except UnicodeDecodeError:
        return None


def parse(line: bytes, summed: bool = True) -> Record:
    """A line's record; ``summed`` says whether it must have a checksum.

    Raises:
        ValueError: it is none, or damaged.
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
    elif summed or "sum" in record:
        raise ValueError("its checksum is damaged")
    return record
