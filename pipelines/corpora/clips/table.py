"""Reads the label tables of a corpus."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from ...errors import DatasetError
from ..tables import table_rows
from .found import count_of
from .scan import LeftOut, scan

SUFFIXES = frozenset({".csv"})
Key = tuple[str, ...]


class LabelRow(NamedTuple):
    """A row of a label table: the label as written, the subject and the line number."""

    label: str
    subject: str
    line: int


@dataclass(frozen=True)
class LabelTable:
    """Label tables of a corpus: a CSV with a header for each split.

    Attributes:
        files: split → name of its CSV, anywhere in the corpus.
        keys: placeholder of the pattern → column; together they identify the clip of a row.
        label, subject: names of these columns.
    """

    files: Mapping[str, str]
    keys: Mapping[str, str]
    label: str
    subject: str

    def key(self, values: Mapping[str, str]) -> Key:
        """Return the key of a clip from the placeholder values of its path."""
        return tuple(_without_zeros(values[name]) for name in self.keys)


class Labels:
    """The rows of a corpus's label tables.

    Attributes:
        table: description of the tables.
        problems: contradictory rows.
        rows: split → key → row; splits without a file are missing.
    """

    def __init__(self, root: Path, table: LabelTable) -> None:
        self.table = table
        self.problems: list[LeftOut] = []
        self.rows: dict[str, dict[Key, LabelRow]] = {}
        files = scan(root, SUFFIXES).files
        for split, name in table.files.items():
            file = next((file for file in files if file.name.casefold() == name.casefold()), None)
            if file:
                self.rows[split] = self._read(root, str(file))

    def _read(self, root: Path, name: str) -> dict[Key, LabelRow]:
        columns = [*self.table.keys.values(), self.table.label, self.table.subject]
        rows: dict[Key, LabelRow] = {}
        for line, cells in table_rows(root / name, columns, DatasetError, tolerant=True):
            key = tuple(_without_zeros(cells[column]) for column in self.table.keys.values())
            row = LabelRow(cells[self.table.label], cells[self.table.subject], line)
            first = rows.setdefault(key, row)
            if first[:2] != row[:2]:
                reason = f"two rows of {name} contradict each other about a clip: the first is used"
                self.problems.append(LeftOut(name, reason, detail=f"lines {first.line} and {row.line}"))
        return rows

    def without_files(self, seen: Mapping[str, Iterable[Key]]) -> list[LeftOut]:
        """Return rows without a clip, or one entry for a split without any clip.

        Args:
            seen: split → keys of the clips found.
        """
        missing: list[LeftOut] = []
        for split, rows in self.rows.items():
            name = self.table.files[split]
            if split not in seen:
                reason = f"none of the {count_of(len(rows), 'clip')} that it lists is found"
                missing.append(LeftOut(name, reason))
                continue
            there = set(seen[split])
            missing += [
                LeftOut(
                    _key_text(self.table, key),
                    f"is missing, but {name} lists it",
                    detail=f"line {row.line}",
                )
                for key, row in rows.items()
                if key not in there
            ]
        return missing


def _key_text(table: LabelTable, key: Key) -> str:
    return " ".join(f"{name} {value}" for name, value in zip(table.keys, key, strict=True))


def _without_zeros(text: str) -> str:
    """Strip leading zeros of a number, so that ``"007"`` equals ``"7"``."""
    return text.lstrip("0") or "0" if text.isdecimal() else text
