"""Tables as aligned text, as Markdown, and as CSV files."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

NUMBER = re.compile(r"-|[+-]?\d[\d.,]*( ± \d[\d.]*|-\d[\d.]*| ?%| [kMGT]?B)?")


def aligned(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Align ``header`` and ``rows`` in columns, text to the left and numbers to the right.

    Numbers look like ``12``, ``98.1%`` or ``1 ± 2``; a column of only numbers and dashes counts as numbers.
    Floats get three decimals, None a dash.
    """
    texts = list(zip(header, *([_text(cell) for cell in row] for row in rows), strict=True))
    widths = [max(map(len, column)) for column in texts]
    right = [all(map(NUMBER.fullmatch, column[1:])) for column in texts]
    lines = [
        "  ".join(
            cell.rjust(width) if to_right else cell.ljust(width)
            for cell, width, to_right in zip(line, widths, right, strict=True)
        )
        for line in zip(*texts, strict=True)
    ]
    return "\n".join(line.rstrip() for line in lines)


def markdown(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Format ``header`` and ``rows`` as a Markdown table, first column to the left, others to the right.

    Floats get three decimals, None a dash.
    """
    lines = [header, ("---", *["---:"] * (len(header) - 1)), *([_text(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


Columns = Mapping[str, str | Callable[[Any], object]]
"""Header → the key of its values in a mapping, or a function that computes them from it."""


def table(found: Iterable[Any], columns: Columns) -> str:
    """Align a table with one row per mapping in ``found``."""
    cells = columns.values()
    rows = [[each[cell] if isinstance(cell, str) else cell(each) for cell in cells] for each in found]
    return aligned(list(columns), rows)


def records(header: Sequence[str], rows: Sequence[Sequence[object]]) -> list[dict[str, object]]:
    """Return one mapping per row, for JSON."""
    return [dict(zip(header, row, strict=True)) for row in rows]


def _text(cell: object) -> str:
    if cell is None:
        return "-"
    return f"{cell:.3f}" if isinstance(cell, float) else str(cell).replace("\n", "\\n")
