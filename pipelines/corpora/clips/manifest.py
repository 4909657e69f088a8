"""Reads manifests: CSV files that list clips."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from ....cache.clips import Clip
from ...errors import DatasetError
from ..tables import table_rows
from .folders import FOLDER_SPLITS
from .found import ONLY_SPLIT, FoundClips, one_per_id, path_id
from .scan import LeftOut

COLUMNS = ("path", "split", "label", "subject", "session", "id")


def read_manifest(manifest: Path) -> FoundClips:
    """Read the clips of a UTF-8 CSV with a header.

    The columns are :data:`COLUMNS`, of which only ``path`` is required:

    - ``path`` is absolute or relative to the CSV's folder.
    - ``split`` defaults to ``all``; other names of train, val and test (``Training``, ``dev``) are replaced.
    - ``label``, ``subject`` and ``session`` may be empty.
    - ``id`` defaults to the path as written, without its suffix.

    Clips keep the order of their rows. Unusable rows are left out and reported with their line number.

    Raises:
        DatasetError: the CSV cannot be read, or has no usable row.
    """
    folder = manifest.absolute().parent
    clips: list[Clip] = []
    left_out: list[LeftOut] = []
    for number, row in table_rows(manifest, COLUMNS[:1], DatasetError, COLUMNS[1:]):
        problem = _problem(row, folder)
        if problem:
            left_out.append(LeftOut(row["path"], problem, detail=f"row {number} of {manifest.name}"))
            continue
        clips.append(_clip(row, folder))
    kept, duplicates = one_per_id(clips, folder)
    if not kept:
        first = f"; '{left_out[0].path}': {left_out[0].why}" if left_out else ""
        raise DatasetError(f"'{manifest}' lists no clip that can be used{first}")
    return FoundClips(kept, f"manifest {manifest.name}", [*left_out, *duplicates])


def _problem(row: dict[str, str], folder: Path) -> str | None:
    """Return why a row cannot be used, or None."""
    if row["surplus"]:
        return "has more cells than the first line: quote a cell that holds a comma"
    if not row["path"]:
        return "has no path"
    try:
        exists = (folder / row["path"]).is_file()
    except (OSError, ValueError) as error:
        return f"path cannot be read: {error}"
    return None if exists else f"no file of that name (a path is absolute, or relative to '{folder}')"


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
