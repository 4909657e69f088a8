"""Reads CSV files written by others: labels, manifests, lists of clips or pictures."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path


def csv_rows(file: Path, error: type[Exception], tolerant: bool = False) -> Iterator[tuple[int, list[str]]]:
    """Yield the line number and cells of each row that is not blank.

    Args:
        file: CSV file in UTF-8.
        error: exception class to raise.
        tolerant: whether to accept stray bytes and quotes, for a corpus's own files.

    Raises:
        error: the file cannot be read, or is not CSV or not UTF-8; the message names the file and the line.
    """
    line = 0
    try:
        with file.open(encoding="utf-8-sig", errors="replace" if tolerant else "strict", newline="") as text:
            rows = csv.reader((part.replace("\0", "") for part in text), strict=not tolerant)
            for cells in rows:
                if any(cells):
                    yield rows.line_num, [cell.strip() for cell in cells]
                line = rows.line_num
    except csv.Error as found:
        raise error(f"'{file}' line {line + 1} is not valid CSV: {found}") from found
    except UnicodeDecodeError as found:
        line = _line_of_first_fault(file)
        raise error(f"'{file}' is not UTF-8 (line {line}): save it as UTF-8") from found
    except OSError as found:
        raise error(f"'{file}' cannot be read: {found.strerror}") from found


def _line_of_first_fault(file: Path) -> int:
    content = file.read_bytes()
    return len(content[: len(content.decode(errors="ignore"))].splitlines())


def table_rows(
    file: Path,
    columns: Sequence[str],
    error: type[Exception],
    optional: Sequence[str] = (),
    tolerant: bool = False,
) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield the line number and cells of each row of a CSV with a header, as column → cell.

    Cells of missing ``optional`` columns are empty. Cells beyond the last column are joined under
    ``"surplus"``.

    Raises:
        error: a required column is missing; see also :func:`csv_rows`.
    """
    rows = csv_rows(file, error, tolerant)
    first = next(rows, (0, []))[1]
    header = {name.casefold(): place for place, name in enumerate(first)}
    absent = [name for name in columns if name.casefold() not in header]
    if absent:
        raise error(
            f"'{file}' has no column {_listed(absent)}; its first line names {_listed(first) or 'nothing'}, "
            f"expected {', '.join([*columns, *optional])} between commas"
            + (f" (only {', '.join(columns)} is required)" if optional else "")
        )
    places = {name: header.get(name.casefold(), -1) for name in (*columns, *optional)}
    for line, cells in rows:
        found = {name: cells[at] if 0 <= at < len(cells) else "" for name, at in places.items()}
        yield line, {**found, "surplus": ",".join(cells[len(first) :])}


def _listed(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names))
