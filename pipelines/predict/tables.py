"""Writes the expressions of a film: a table of frames, a table of windows, and both as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ... import __version__
from ...fusion.files import replacing, write_csv
from .expressions import MEANING, FilmExpressions, FilmWindows, named

DIGITS = 6
BOX = ("x0", "y0", "x1", "y1")


def write_frames(found: FilmExpressions, path: Path) -> None:
    """Write ``time,x0,y0,x1,y1,class,<class>...``, one row per frame; cells are empty without a face.

    Raises:
        FusionError: the file cannot be written.
    """
    rows = ([time, *_cells(box), best, *_cells(values)] for time, box, best, values in _frames(found))
    write_csv(path, ["time", *BOX, "class", *found.classes], rows)


def write_windows(found: FilmExpressions, windows: FilmWindows, path: Path) -> None:
    """Write ``start,end,class,<class>...,faces``, one row per window; ``faces`` is the share with a face.

    Raises:
        FusionError: the file cannot be written.
    """
    rows = ([*span, best, *_cells(values), faces] for span, best, values, faces in _windows(found, windows))
    write_csv(path, ["start", "end", "class", *found.classes, "faces"], rows)


def write_json(found: FilmExpressions, windows: FilmWindows, path: Path) -> None:
    """Write everything as one JSON object, row by row, as a film may have a million frames.

    Probabilities are in the order of ``classes``, null without a face.

    Raises:
        FusionError: the file cannot be written.
    """
    facts = {
        "avemo": __version__,
        "meaning": MEANING,
        "film": str(found.film),
        "seconds": round(found.seconds, DIGITS),
        "settings": dict(found.settings),
        "notes": [*found.notes, *found.warnings],
        "classes": list(found.classes),
    }
    frames = (
        {"time": time, "box": _listed(box), "class": best, "probabilities": _listed(values)}
        for time, box, best, values in _frames(found)
    )
    spans = (
        {"start": start, "end": end, "class": best, "probabilities": _listed(values), "faces": faces}
        for (start, end), best, values, faces in _windows(found, windows)
    )
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.write(json.dumps(facts, indent=1, ensure_ascii=False).removesuffix("\n}"))
        for name, rows in (("windows", spans), ("frames", frames)):
            file.write(f",\n {json.dumps(name)}: [")
            for number, row in enumerate(rows):
                file.write(f"{',' if number else ''}\n  {json.dumps(row, allow_nan=False)}")
            file.write("\n ]")
        file.write("\n}\n")


def _frames(found: FilmExpressions) -> Iterator[tuple[float, np.ndarray, str | None, np.ndarray]]:
    times = np.round(found.times, DIGITS).tolist()
    best = named(found.classes, found.probabilities)
    boxes = _rounded(found.boxes, 2)
    return zip(times, boxes, best, _rounded(found.probabilities), strict=True)


def _windows(
    found: FilmExpressions, windows: FilmWindows
) -> Iterator[tuple[list[float], str | None, np.ndarray, float]]:
    return zip(
        np.round(windows.spans, DIGITS).tolist(),
        named(found.classes, windows.probabilities),
        _rounded(windows.probabilities),
        np.round(windows.faces, DIGITS).tolist(),
        strict=True,
    )


def _rounded(values: np.ndarray, digits: int = DIGITS) -> np.ndarray:
    return np.round(values.astype(np.float64), digits)


def _cells(values: np.ndarray) -> list[float | None]:
    return [None] * len(values) if np.isnan(values[0]) else values.tolist()


def _listed(values: np.ndarray) -> list[float] | None:
    return None if np.isnan(values[0]) else values.tolist()
