"""Reads CSV tables strictly; errors name file, row and column."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import FusionError
from ..files import of_cell


@dataclass(frozen=True)
class TableRow:
    """One row. ``number`` counts as in a spreadsheet: the header is row 1."""

    number: int
    cells: Mapping[str, str]


@dataclass(frozen=True)
class Table:
    """Distinct column names, and at least one row with a cell for every column."""

    header: tuple[str, ...]
    rows: tuple[TableRow, ...]


def read_table(path: Path, columns: Sequence[str], example: str) -> Table:
    """Read a CSV in UTF-8 whose header has at least ``columns``, in any order.

    Args:
        path: the file.
        columns: required columns.
        example: a valid header, for error messages.

    Raises:
        FusionError: the file cannot be read, a column is missing or duplicated, a row has the wrong length,
            or there are no rows.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = ([of_cell(cell) for cell in cells] for cells in csv.reader(file, strict=True))
            header, *below = [*lines] or [[]]
    except OSError as error:
        raise FusionError(f"{path} cannot be read: {error.strerror}; name a CSV table") from error
    except (ValueError, csv.Error) as error:
        raise FusionError(f"{path} cannot be read as a CSV table in UTF-8: {error}") from error
    for name in columns:
        if name not in header:
            found = ", ".join(map(repr, header)) or "nothing"
            raise FusionError(f"{path}, row 1: no column {name!r} among {found}; a header {example} expected")
    for name in header:
        if header.count(name) > 1:
            raise FusionError(f"{path}, row 1: column {name!r} appears twice; remove or rename one")
    rows = tuple(_row(path, number, header, cells) for number, cells in enumerate(below, start=2) if cells)
    if not rows:
        raise FusionError(f"{path} has a header but no rows; expected one row or more")
    return Table(tuple(header), rows)


def number(path: Path, row: TableRow, column: str) -> float:
    """Return the number in one cell.

    Raises:
        FusionError: the cell does not hold a number.
    """
    text = row.cells[column]
    try:
        return float(text)
    except ValueError:
        raise FusionError(
            f"{path}, row {row.number}, column {column!r}: {text!r} is not a number; write "
            "one with a decimal point, such as 0.25"
        ) from None


def _row(path: Path, number: int, header: Sequence[str], cells: Sequence[str]) -> TableRow:
    if len(cells) != len(header):
        raise FusionError(
            f"{path}, row {number}: {len(cells)} columns, but the header has {len(header)}; complete the "
            "row, or quote a cell that holds a comma"
        )
    return TableRow(number, dict(zip(header, cells, strict=True)))
