"""Reads FER2013, a table of pixels (Goodfellow et al. 2013, arXiv:1307.0414)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ....pretrain.errors import PretrainError
from ....pretrain.pictures import Skipped
from ...errors import NotThisLayout
from .found import FoundPictures, LabelledPicture, Options, PictureCorpus

FER2013_FILES = ("fer2013.csv", "icml_face_data.csv")
FER2013_CLASSES = ("Angry", "Disgust", "Fear", "Happy", "Sad", "Surprise", "Neutral")
FER2013_CODES = {str(number): name for number, name in enumerate(FER2013_CLASSES)}
FER2013_PARTS = {"Training": "train", "PublicTest": "val", "PrivateTest": "test"}
FER2013_LICENCE = "FER2013: data of a Kaggle competition, for research; the pictures remain their owners'"
_SIDE = 48
_LINE_BYTES = 1 << 20


class PixelRow(NamedTuple):
    """A row of the table.

    Attributes:
        number: line number, from 1.
        read: function that returns the picture.
        emotion, usage: cells of the row; ``usage`` is None if there is no such column.
        problem: why the row cannot be used, or empty.
    """

    number: int
    read: Callable[[], np.ndarray]
    emotion: str
    usage: str | None
    problem: str = ""


def find_fer2013(source: PictureCorpus, options: Options) -> FoundPictures:
    """Find the pictures of FER2013.

    Reads ``fer2013.csv`` or ``icml_face_data.csv``, whichever is found first, or the named file if it has the
    same columns.
    """
    tables = source.look_for(*FER2013_FILES) or [source.path]
    table = tables[0]
    if not table.is_file():
        raise NotThisLayout(f"expected {' or '.join(FER2013_FILES)}; there is none")
    found = FoundPictures("FER2013", FER2013_CLASSES, [], licence=FER2013_LICENCE)
    if len(tables) > 1:
        found.notes.append(f"{table} is read; left alone: {', '.join(map(str, tables[1:]))}")
    for row in fer2013_rows(table):
        name = f"{table.name} line {row.number}"
        problem = row.problem or _problem(row)
        if problem:
            found.skipped.append(Skipped(name, problem))
        else:
            emotion = FER2013_CODES[row.emotion]
            part = FER2013_PARTS[row.usage] if row.usage is not None else ""
            found.pictures.append(LabelledPicture(name, table, row.read, emotion, part))
    return found


def fer2013_rows(table: Path) -> Iterator[PixelRow]:
    """Yield the rows of a table with the columns emotion, pixels and optionally Usage, line by line.

    Raises:
        NotThisLayout: the columns are missing.
        PretrainError: the columns are missing in a file with FER2013's name, or a line is too long.
    """
    with table.open("rb") as file:
        columns = _columns(table, file.readline(_LINE_BYTES))
        number, offset = 1, file.tell()
        while line := file.readline(_LINE_BYTES):
            number += 1
            if len(line) == _LINE_BYTES:
                raise PretrainError(
                    f"{table}: line {number} has more than a million bytes: fetch the file again"
                )
            cells = _cells(line)
            if cells != [""]:
                read = partial(_read_row, table, offset, columns.index("pixels"))
                if len(cells) == len(columns):
                    values = dict(zip(columns, cells, strict=True))
                    yield PixelRow(number, read, values["emotion"], values.get("usage"))
                else:
                    problem = f"{len(cells)} values, expected {len(columns)}: {', '.join(columns)}"
                    yield PixelRow(number, read, "", None, problem)
            offset += len(line)


def _read_row(table: Path, offset: int, column: int) -> np.ndarray:
    """Return the picture ``[48, 48]``, uint8, in the line that begins at byte ``offset``."""
    with table.open("rb") as file:
        file.seek(offset)
        values = _cells(file.readline(_LINE_BYTES))[column].split()
    if len(values) != _SIDE**2:
        raise PretrainError(f"{len(values)} pixels, expected {_SIDE**2} ({_SIDE} × {_SIDE})")
    try:
        return np.frombuffer(bytes(map(int, values)), np.uint8).reshape(_SIDE, _SIDE)
    except ValueError as error:
        raise PretrainError("its pixels are not all whole numbers of 0 to 255") from error


def _columns(table: Path, line: bytes) -> list[str]:
    columns = [name.lower() for name in _cells(line.removeprefix(b"\xef\xbb\xbf"))]
    if not {"emotion", "pixels"} <= set(columns):
        begin = line[:60].decode(errors="replace").strip()
        kind = PretrainError if table.name in FER2013_FILES else NotThisLayout
        raise kind(f"{table}: expected the columns emotion, pixels and Usage; it begins '{begin}'")
    return columns


def _cells(line: bytes) -> list[str]:
    """Split a line at its commas; no value in these tables contains one."""
    return [cell.strip(' \t\r\n"') for cell in line.decode(errors="replace").split(",")]


def _problem(row: PixelRow) -> str:
    if row.emotion not in FER2013_CODES:
        return f"emotion '{row.emotion}', expected 0 to {len(FER2013_CLASSES) - 1}"
    if row.usage is not None and row.usage not in FER2013_PARTS:
        return f"Usage '{row.usage}', expected {', '.join(FER2013_PARTS)}"
    return ""
