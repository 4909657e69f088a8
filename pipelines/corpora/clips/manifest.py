"""Reads a manifest: a CSV that lists clips."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from ....cache.clips import Clip
from .folders import FOLDER_SPLITS
from .found import ONLY_SPLIT, DatasetError, FoundClips, one_per_id, path_id
from .scan import LeftOut

COLUMNS = ("path", "split", "label", "subject", "session", "id")


def read_manifest(manifest: Path) -> FoundClips:
    """The clips of a CSV in UTF-8 whose first line names the columns, :data:`COLUMNS` or some of them.

    ``path`` is absolute or relative to the CSV's folder; ``split`` is ``all`` where empty, and train, val or
    test where it is another name for one of these (``Training``, ``dev``); ``label``,
    ``subject`` and ``session`` may be empty; where ``id`` is empty, it is the path as written, without its
    suffix. Clips stay in the order of their rows; a row that cannot be used is left out with its line number.
    """
    folder = manifest.absolute().parent
    clips: list[Clip] = []
    left_out: list[LeftOut] = []
    for number, row in table_rows(manifest, COLUMNS):
        problem = _problem(row, folder)
        if problem:
            left_out.append(LeftOut(row["path"], problem, detail=f"row {number} of {manifest.name}"))
            continue
        clips.append(_clip(row, folder))
    kept, twice = one_per_id(clips, folder)
    if not kept:
        first = f"; '{left_out[0].path}': {left_out[0].why}" if left_out else ""
        raise DatasetError(f"'{manifest}' lists no clip that can be used{first}")
    return FoundClips(kept, f"manifest {manifest.name}", [*left_out, *twice])


def table_rows(manifest: Path, columns: Sequence[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """Line number and cells by column of each row; those beyond the last column are under ``"surplus"``.

    The first of ``columns`` must be there; cells of the others are empty where they are not.
    """
    lines = csv.reader(io.StringIO(_text(manifest), newline=""), strict=True)
    try:
        header = [name.strip().lower() for name in next(lines, [])]
        if columns[0] not in header:
            raise DatasetError(
                f"'{manifest}' has no column '{columns[0]}'; its first line names "
                f"{', '.join(repr(name) for name in header) or 'nothing'}, expected "
                f"{', '.join(columns)} between commas (all but {columns[0]} may be absent)"
            )
        for cells in lines:
            if any(cells):
                row = dict.fromkeys(columns, "")
                row.update(zip(header, (cell.strip() for cell in cells), strict=False))
                row["surplus"] = ",".join(cells[len(header) :])
                yield lines.line_num, row
    except csv.Error as error:
        raise DatasetError(f"'{manifest}' line {lines.line_num} is no CSV: {error}") from error


def _text(manifest: Path) -> str:
    try:
        return manifest.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise DatasetError(f"'{manifest}' cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise DatasetError(f"'{manifest}' is not UTF-8 (line {line}): save it as UTF-8") from error


def _problem(row: dict[str, str], folder: Path) -> str | None:
    """Why a row cannot be used."""
    if row["surplus"]:
        return "has more cells than the first line: quote a cell that holds a comma"
    if not row["path"]:
        return "has no path"
    try:
        there = (folder / row["path"]).is_file()
    except (OSError, ValueError) as error:
        return f"path cannot be read: {error}"
    return None if there else f"no file of that name (a path is absolute, or relative to '{folder}')"


def _clip(row: dict[str, str], folder: Path) -> Clip:
    path = folder / row["path"]
    return Clip(
        id=row["id"] or path_id(PurePosixPath(path.as_posix().removeprefix(f"{folder.as_posix()}/"))),
        split=FOLDER_SPLITS.get(row["split"].casefold(), row["split"]) or ONLY_SPLIT,
        path=str(path),
        label=row["label"] or None,
        subject=row["subject"] or None,
        session=row["session"] or None,
    )
