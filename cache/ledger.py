"""Combines the journals of a store into its keys and its clips with their outcomes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from .clips import Clip
from .journal import OPENING, Record, Senseless, Stamp, seen_at
from .keys import FeatureKey
from .rows import RANK, Entry, Row, Source
from .shards import ArrayRef

ClipKey = tuple[str, str]
Rivals = list[tuple[Stamp, Entry]]
"""Outcomes of one stream of a clip of which none follows another."""


class Ledger:
    """Combines records.

    A record replaces those that it follows. Of concurrent outcomes, ``ok`` beats the others, and ``absent``
    beats ``failed``; otherwise the order of the stamps decides, on which all readers agree. An invalid record
    is skipped; it affects no other.

    Args:
        records: ordered.
        senseless: lines known to be none.

    Attributes:
        keys: by digest.
        rows: by :attr:`.Clip.key`.
        senseless: lines that make no sense, but for those that are known and passed over.
    """

    def __init__(self, records: Iterable[tuple[Stamp, Record]], senseless: Iterable[Senseless] = ()) -> None:
        self.keys: dict[str, FeatureKey] = {}
        self.rows: dict[ClipKey, Row] = {}
        self._tellings: dict[ClipKey, list[Stamp]] = {}
        self._rivals: dict[ClipKey, dict[str, Rivals]] = {}
        self._passed: set[tuple[object, object]] = set()
        found = list(senseless)
        records = list(records)
        for takers in ({"key": self._take_key}, self._others()):  # keys first: others speak of them
            for stamp, record in records:
                try:
                    take = takers.get(_text(record["kind"]))
                    if take:
                        take(stamp, record)
                except (KeyError, TypeError, ValueError, AttributeError) as error:
                    found.append(Senseless(stamp.journal, stamp.line, f"{type(error).__name__}: {error}"))
        found = [line for line in dict.fromkeys(found) if (line.journal, line.line) not in self._passed]
        self.senseless = sorted(found, key=lambda line: (line.journal, line.line))

    def _others(self) -> dict[str, Callable[[Stamp, Record], None]]:
        return {
            OPENING: self._take_opening,
            "clip": self._take_clip,
            "drop": self._take_drop,
            "remove": self._take_remove,
            "pass": self._take_pass,
        }

    def _take_opening(self, stamp: Stamp, record: Record) -> None:
        if seen_at(record) is None:
            raise ValueError(f"{record.get('seen')!r} does not count lines of journals")

    def _take_key(self, stamp: Stamp, record: Record) -> None:
        key = FeatureKey(_text(record["stream"]), {**record["settings"]})
        self.keys[_text(record["digest"])] = key

    def _take_clip(self, stamp: Stamp, record: Record) -> None:
        clip = _clip(record["clip"])
        source = _source(record["source"]) if record["source"] else None
        entries = {_text(stream): self._entry(entry) for stream, entry in record["streams"].items()}
        # From here on nothing fails: a record counts as a whole or not at all.
        row = self.rows.setdefault(clip.key, Row(clip))
        rivals = self._rivals.setdefault(clip.key, {})
        row.clip = clip
        if row.source and source and row.source.sha256 != source.sha256:
            row.entries.clear()  # the file is another one now
            rivals.clear()
        row.source = source or row.source
        self._tellings[clip.key] = [*_not_followed(stamp, self._tellings.get(clip.key, [])), stamp]
        for stream, entry in entries.items():
            self._settle(row, stream, [*_unseen(stamp, rivals.get(stream, [])), (stamp, entry)])

    def _take_drop(self, stamp: Stamp, record: Record) -> None:
        key = _text(record["split"]), _text(record["id"])
        streams = [_text(stream) for stream in record["streams"]]
        if key in self.rows:
            for stream in streams:
                self._settle(self.rows[key], stream, _unseen(stamp, self._rivals[key].get(stream, [])))

    def _take_remove(self, stamp: Stamp, record: Record) -> None:
        key = _text(record["split"]), _text(record["id"])
        if key not in self.rows:
            return
        self._tellings[key] = _not_followed(stamp, self._tellings[key])
        if not self._tellings[key]:
            del self.rows[key], self._tellings[key], self._rivals[key]
            return
        for stream, rivals in list(self._rivals[key].items()):
            self._settle(self.rows[key], stream, _unseen(stamp, rivals))

    def _take_pass(self, stamp: Stamp, record: Record) -> None:
        self._passed.add((_text(record["journal"]), _number(record["line"])))

    def _settle(self, row: Row, stream: str, rivals: Rivals) -> None:
        self._rivals[row.clip.key][stream] = rivals
        if rivals:
            # the last of the best
            row.entries[stream] = min(reversed(rivals), key=lambda rival: RANK[rival[1].status])[1]
        else:
            row.entries.pop(stream, None)

    def _entry(self, entry: Any) -> Entry:
        if entry["status"] not in RANK:
            raise ValueError(f"no outcome is {entry['status']!r}")
        return Entry(
            self.keys[entry["digest"]],
            entry["status"],
            _text(entry["reason"]),
            {**entry["info"]},
            {_text(name): _reference(*ref) for name, ref in entry["arrays"].items()},
        )


def _not_followed(stamp: Stamp, others: Iterable[Stamp]) -> list[Stamp]:
    return [other for other in others if not stamp.follows(other)]


def _unseen(stamp: Stamp, rivals: Rivals) -> Rivals:
    return [(other, entry) for other, entry in rivals if not stamp.follows(other)]


def _clip(told: Any) -> Clip:
    clip = Clip(**told)
    for text in (clip.id, clip.split, clip.path):
        _text(text)
    for known in (clip.label, clip.subject, clip.session):
        _text(known or "")
    return clip


def _source(told: Any) -> Source:
    return Source(_text(told["sha256"]), _number(told["size"]), _number(told["mtime_ns"]))


def _reference(shard: Any, dataset: Any, start: Any, stop: Any, checksum: Any, kind: Any = "") -> ArrayRef:
    if not 0 <= _number(start) <= _number(stop):
        raise ValueError(f"no rows are {start}-{stop}")
    return ArrayRef(_text(shard), _text(dataset), start, stop, _text(checksum), _text(kind))


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} stands where a text is expected")
    return value


def _number(value: Any) -> int:
    if not isinstance(value, int):
        raise TypeError(f"{value!r} stands where a whole number is expected")
    return value
