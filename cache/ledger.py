"""Combines the journals of a store into its keys, its clips and their outcomes.

Opening a store only locates each clip's records. They are read when the clip is requested, so a store of a
million clips opens in seconds and takes a few hundred bytes of memory per clip.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

from .clips import Clip, ClipKey
from .journal import LONGEST_LINE, OPENING, InvalidLine, Journal, Record, Stamp, clip_of
from .keys import FeatureKey
from .rows import RANK, Entry, Row, Source
from .shards import ArrayRef

Rivals = list[tuple[Stamp, Entry]]
"""Concurrent outcomes of one stream of a clip: none follows another."""

KEEP_OPEN = 64
_OFFSET, _LINE = 44, 32  # bits
RECORD_ERRORS = (KeyError, TypeError, ValueError, AttributeError)
"""What reading an invalid record may raise."""


class Ledger:
    """The combined records of all journals.

    A record replaces the ones it follows. Among concurrent outcomes, ``ok`` beats the others and ``absent``
    beats ``failed``; the order of the stamps, which all readers share, breaks ties. An invalid record is
    skipped and affects no other.

    Args:
        folder: folder of the journals.

    Attributes:
        keys: keys of all streams, by digest.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._open: OrderedDict[int, IO[bytes]] = OrderedDict()
        self._reset()
        self.refresh()

    def refresh(self) -> None:
        """Read what has been added to the journals since."""
        self._keys_read: set[ClipKey] = set()
        self._invalid: dict[tuple[str, int], InvalidLine] = {}
        paths = {path.name: path for path in sorted(self._folder.glob("*.jsonl"))}
        known = {journal.path.name: journal for journal in self._journals}
        if any(name not in paths or paths[name].stat().st_size < known[name].end for name in known):
            self._reset()  # should not happen: a store's journals only grow
            known = {}
        for name, path in paths.items():
            if name not in known:
                self._journals.append(Journal(path))
        for number in range(len(self._journals)):
            self._scan(number)

    def close(self) -> None:
        """Close all open journals."""
        while self._open:
            self._open.popitem()[1].close()

    def row(self, key: ClipKey) -> Row | None:
        """Return a clip with everything stored for it, or None."""
        found = self._places.get(key)
        if found is None:
            return None
        self._keys_read.add(key)
        history = History()
        for stamp, record in self._records(key, [found] if isinstance(found, int) else found):
            try:
                self._apply_clip_record(history, stamp, record)
            except RECORD_ERRORS as error:
                _note(self._invalid, stamp.journal, stamp.line, error)
        return history.row

    def __iter__(self) -> Iterator[ClipKey]:
        """Iterate over all clips with records, including removed ones."""
        return iter(self._places)

    def senseless(self) -> list[InvalidLine]:
        """Return invalid lines, except those already passed over.

        Reads all clips that have not been read since the last refresh.
        """
        for key in [key for key in self._places if key not in self._keys_read]:
            self.row(key)
        found = {**self._unusable, **self._invalid}
        return [found[place] for place in sorted(found) if place not in self._passed]

    def _reset(self) -> None:
        self.close()
        self.keys: dict[str, FeatureKey] = {}
        self._journals: list[Journal] = []
        self._places: dict[ClipKey, int | list[int]] = {}
        self._passed: set[tuple[object, object]] = set()
        self._unusable: dict[tuple[str, int], InvalidLine] = {}

    def _scan(self, number: int) -> None:
        """Locate the new records of a journal."""
        journal = self._journals[number]
        for line, offset, content in journal.unread_lines():
            time_and_clip: tuple[object, ClipKey | None] | None = clip_of(content)
            if time_and_clip is None:
                try:
                    time_and_clip = self._apply_record(journal, journal.record(line, content))
                except RECORD_ERRORS as error:
                    if _is_whole(content):
                        _note(self._unusable, journal.path.name, line, error)
            time, key = time_and_clip or (None, None)
            journal.note_time(line, time)
            if key is not None:
                self._place(key, (number << _LINE | line) << _OFFSET | offset)

    def _apply_record(self, journal: Journal, record: Record) -> tuple[object, ClipKey | None]:
        """Apply a record; return its time, and its clip if it has one."""
        kind, clip = _text(record["kind"]), None
        if kind == OPENING:
            journal.apply_opening(record)
        elif kind == "key":
            key = FeatureKey(_text(record["stream"]), {**record["settings"]})
            self.keys[_text(record["digest"])] = key
        elif kind == "pass":
            self._passed.add((_text(record["journal"]), _number(record["line"])))
        elif kind in ("clip", "drop", "remove"):
            clip = _key_of(record)
        return record.get("time"), clip

    def _place(self, key: ClipKey, place: int) -> None:
        found = self._places.setdefault(key, place)
        if isinstance(found, list):
            if place not in found:  # an unfinished last line is yielded twice
                found.append(place)
        elif found != place:
            self._places[key] = [found, place]

    def _records(self, key: ClipKey, places: list[int]) -> Iterator[tuple[Stamp, Record]]:
        """Yield a clip's valid records in their order."""
        found = []
        for place in places:
            journal, line = self._journals[place >> _LINE + _OFFSET], place >> _OFFSET & (1 << _LINE) - 1
            found.append((journal.stamp(line), journal, place))
        for stamp, journal, place in sorted(found, key=lambda each: each[0].order):
            file = self._file(place >> _LINE + _OFFSET)
            file.seek(place & (1 << _OFFSET) - 1)
            content = file.readline(LONGEST_LINE)
            try:
                record = journal.record(stamp.line, content)
                own = _key_of(record) == key
            except RECORD_ERRORS as error:
                if _is_whole(content):
                    _note(self._invalid, journal.path.name, stamp.line, error)
                continue
            if own:
                yield stamp, record

    def _file(self, number: int) -> IO[bytes]:
        if number not in self._open:
            if len(self._open) >= KEEP_OPEN:
                self._open.popitem(last=False)[1].close()
            self._open[number] = self._journals[number].path.open("rb")
        self._open.move_to_end(number)
        return self._open[number]

    def _apply_clip_record(self, history: History, stamp: Stamp, record: Record) -> None:
        kind = record["kind"]
        if kind == "clip":
            history.add(stamp, *self._parse_clip(record))
        elif kind == "drop":
            history.drop(stamp, _streams(record))
        elif kind == "remove":
            history.remove(stamp)

    def _parse_clip(self, record: Record) -> tuple[Clip, Source | None, dict[str, Entry]]:
        """Parse a clip's record, as a whole or not at all."""
        source = _source(record["source"]) if record["source"] else None
        entries = {_text(stream): self._entry(entry) for stream, entry in record["streams"].items()}
        return _clip(record["clip"]), source, entries

    def _entry(self, entry: Any) -> Entry:
        if entry["status"] not in RANK:
            raise ValueError(f"{entry['status']!r} is not a status")
        return Entry(
            self.keys[entry["digest"]],
            entry["status"],
            _text(entry["reason"]),
            {**entry["info"]},
            {_text(name): _reference(*ref) for name, ref in entry["arrays"].items()},
        )


class History:
    """The state of one clip, built from its records in order.

    Attributes:
        row: what is stored for the clip after the records so far, or None.
    """

    def __init__(self) -> None:
        self.row: Row | None = None
        self._clip_stamps: list[Stamp] = []
        self._rivals: dict[str, Rivals] = {}

    def add(self, stamp: Stamp, clip: Clip, source: Source | None, entries: dict[str, Entry]) -> None:
        """Apply a record of a clip's outcomes."""
        row = self.row = self.row or Row(clip)
        row.clip = clip
        if row.source and source and row.source.sha256 != source.sha256:
            row.entries.clear()  # the file's content has changed
            self._rivals.clear()
        row.source = source or row.source
        self._clip_stamps = [*(other for other in self._clip_stamps if not stamp.follows(other)), stamp]
        for stream, entry in entries.items():
            self._settle(row, stream, [*_not_followed(stamp, self._rivals.get(stream, [])), (stamp, entry)])

    def drop(self, stamp: Stamp, streams: Iterable[str]) -> None:
        """Remove streams, except outcomes that the record does not follow."""
        if self.row:
            for stream in streams:
                self._settle(self.row, stream, _not_followed(stamp, self._rivals.get(stream, [])))

    def remove(self, stamp: Stamp) -> None:
        """Remove the clip, except outcomes that the record does not follow."""
        self._clip_stamps = [other for other in self._clip_stamps if not stamp.follows(other)]
        if self._clip_stamps:
            self.drop(stamp, list(self._rivals))
        else:
            self.row, self._rivals = None, {}

    def _settle(self, row: Row, stream: str, rivals: Rivals) -> None:
        self._rivals[stream] = rivals
        if rivals:
            # the last one of the best status
            row.entries[stream] = min(reversed(rivals), key=lambda rival: RANK[rival[1].status])[1]
        else:
            row.entries.pop(stream, None)


def _note(lines: dict[tuple[str, int], InvalidLine], journal: str, line: int, error: Exception) -> None:
    kind = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
    lines[journal, line] = InvalidLine(journal, line, f"{kind}{error}")


def _is_whole(line: bytes) -> bool:
    """Whether a line is complete. A torn line was never acknowledged, so it is not reported."""
    return line.endswith(b"\n") or len(line) == LONGEST_LINE


def _not_followed(stamp: Stamp, rivals: Rivals) -> Rivals:
    return [(other, entry) for other, entry in rivals if not stamp.follows(other)]


def _key_of(record: Record) -> ClipKey:
    clip = record["clip"] if record["kind"] == "clip" else record
    return _text(clip["split"]), _text(clip["id"])


def _streams(record: Record) -> list[str]:
    return [_text(stream) for stream in record["streams"]]


def _clip(fields: Any) -> Clip:
    clip = Clip(**fields)
    for text in (clip.id, clip.split, clip.path):
        _text(text)
    for optional in (clip.label, clip.subject, clip.session):
        _text(optional or "")
    return clip


def _source(fields: Any) -> Source:
    return Source(_text(fields["sha256"]), _number(fields["size"]), _number(fields["mtime_ns"]))


def _reference(shard: Any, dataset: Any, start: Any, stop: Any, checksum: Any, kind: Any = "") -> ArrayRef:
    if not 0 <= _number(start) <= _number(stop):
        raise ValueError(f"{start}-{stop} is not a range of rows")
    return ArrayRef(_text(shard), _text(dataset), start, stop, _text(checksum), _text(kind))


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not a string")
    return value


def _number(value: Any) -> int:
    if not isinstance(value, int):
        raise TypeError(f"{value!r} is not a whole number")
    return value
