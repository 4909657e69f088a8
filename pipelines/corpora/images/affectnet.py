"""Reads the manually labelled part of AffectNet (Mollahosseini, Hasani and Mahoor 2017, arXiv:1708.03985)."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from functools import partial
from itertools import chain, islice
from pathlib import Path

import numpy as np

from ....cache.order import natural
from ....pretrain.errors import PretrainError
from ....pretrain.images import SUFFIXES, read_image
from ....pretrain.pictures import Box, Skipped
from ...errors import NotThisLayout
from ..clips.found import count_of
from .found import FoundPictures, LabelledPicture, Options, PictureCorpus, csv_rows, file_exists

AFFECTNET_CLASSES = ("Neutral", "Happy", "Sad", "Surprise", "Fear", "Disgust", "Angry", "Contempt")
AFFECTNET_LICENCE = "AffectNet: for non-commercial research under a signed agreement"
AFFECTNET_TABLES = {"training.csv": "train", "validation.csv": "val"}
AFFECTNET_FOLDERS = {"train_set": "train", "val_set": "val"}
AFFECTNET_PICTURES = "Manually_Annotated_Images"
_CODES = {str(number): name for number, name in enumerate(AFFECTNET_CLASSES)}
_NO_EXPRESSION = {"8": "none", "9": "uncertain", "10": "no face"}
_COLUMNS = ("subDirectory_filePath", "face_x", "face_y", "face_width", "face_height", "expression")
_ANNOTATION_SUFFIX = "_exp.npy"
_ANNOTATION_BYTES = 1 << 12
_MAX_PROBES = 100


AffectNetRow = tuple[str, Path, str, str, Box | None]  # name, file, code, part, box


def find_affectnet(source: PictureCorpus, options: Options) -> FoundPictures:
    """Find the pictures of AffectNet, in one of two layouts.

    Either ``training.csv`` and ``validation.csv`` with pictures and face boxes; or the folders ``train_set``
    and ``val_set`` with ``images/0.jpg`` and ``annotations/0_exp.npy``, whose pictures are cropped faces.
    """
    found = FoundPictures("AffectNet", AFFECTNET_CLASSES, [], licence=AFFECTNET_LICENCE)
    tables = _first_of_each(path for path in source.look_for(*AFFECTNET_TABLES) if _is_table(path))
    if not tables and _is_table(source.path):
        tables = [source.path]
    folders = _first_of_each(
        path for path in source.look_for(*AFFECTNET_FOLDERS) if (path / "annotations").is_dir()
    )
    if tables:
        found.faces = "box"
        rows = chain(*(_table_rows(found, table, source.path) for table in tables))
    elif folders:
        rows = chain(*(_folder_rows(found, folder) for folder in folders))
    else:
        raise NotThisLayout(
            f"expected {' and '.join(AFFECTNET_TABLES)} with the column {_COLUMNS[0]}, or folders "
            f"{' and '.join(AFFECTNET_FOLDERS)} of images and annotations; there is neither"
        )
    unused = 0
    for name, file, code, part, box in rows:
        if code in _NO_EXPRESSION:
            unused += 1
        elif code not in _CODES:
            problem = f"expression '{code}', expected 0 to {max(map(int, _NO_EXPRESSION))}"
            found.skipped.append(Skipped(name, problem))
        elif not file_exists(file):
            found.skipped.append(Skipped(name, f"there is no picture {file}"))
        else:
            found.pictures.append(
                LabelledPicture(name, file, partial(read_image, file), _CODES[code], part, box)
            )
    if unused:
        found.notes.append(
            f"{count_of(unused, 'picture')} left out: labelled {', '.join(_NO_EXPRESSION.values())}"
        )
    return found


def _first_of_each(paths: Iterable[Path]) -> list[Path]:
    """Return one path per file name, since copies would count twice."""
    first: dict[str, Path] = {}
    for path in paths:
        first.setdefault(path.name, path)
    return list(first.values())


def _is_table(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        return file.readline(1000).startswith(_COLUMNS[0])


def _table_rows(found: FoundPictures, table: Path, root: Path) -> Iterator[AffectNetRow]:
    part = AFFECTNET_TABLES.get(table.name, "")
    folder = _picture_folder(table, root)
    for number, name, *sides, code in _values(table):
        box = _box(sides)
        if box is None:
            problem = f"its face box is '{','.join(sides)}', expected x, y, width and height"
            found.skipped.append(Skipped(name or f"{table.name} line {number}", problem))
        else:
            yield name, folder / name, code, part, box


def _values(table: Path) -> Iterator[list[str]]:
    """Yield the line number of each row and its values of :data:`_COLUMNS`, empty if the row is too short."""
    rows = csv_rows(table)
    _, header = next(rows)
    absent = [column for column in _COLUMNS if column not in header]
    if absent:
        raise PretrainError(f"{table}: there is no column {', '.join(absent)}; fetch it again")
    places = [header.index(column) for column in _COLUMNS]
    for number, cells in rows:
        yield [str(number), *(cells[place] if place < len(cells) else "" for place in places)]


def _box(sides: list[str]) -> Box | None:
    try:
        x, y, width, height = map(float, sides)
    except ValueError:
        return None
    finite = np.isfinite((x, y, width, height)).all()
    return (x, y, x + width, y + height) if finite and width > 0 and height > 0 else None


def _picture_folder(table: Path, root: Path) -> Path:
    """Return the folder that the table's paths are relative to, tested with the first pictures."""
    paths = [path for _, path, *_ in islice(_values(table), _MAX_PROBES)]
    parents = dict.fromkeys((table.parent, table.parent.parent, root if root.is_dir() else table.parent))
    for parent in parents:
        for folder in (
            parent,
            *(found for depth in ("", "*/") for found in parent.glob(depth + AFFECTNET_PICTURES)),
        ):
            if any(file_exists(folder / path) for path in paths):
                return folder
    raise PretrainError(
        f"{table}: none of its first {len(paths)} pictures is there: expected "
        f"{table.parent / AFFECTNET_PICTURES / (paths[0] if paths else '')}"
    )


def _folder_rows(found: FoundPictures, folder: Path) -> Iterator[AffectNetRow]:
    images = {path.stem: path for path in (folder / "images").glob("*") if path.suffix.lower() in SUFFIXES}
    annotations = {
        path.name.removesuffix(_ANNOTATION_SUFFIX): path
        for path in (folder / "annotations").glob(f"*{_ANNOTATION_SUFFIX}")
    }
    for stem in sorted(images.keys() | annotations.keys(), key=natural):
        name = f"{folder.name}/{stem}"
        if stem not in annotations:
            found.skipped.append(Skipped(name, f"there is no annotation {stem}{_ANNOTATION_SUFFIX}"))
            continue
        try:
            code = _expression(annotations[stem])
        except Exception as error:  # numpy parses the header as Python, so a damaged one can raise anything
            found.skipped.append(Skipped(name, f"its annotation cannot be read: {error}"))
            continue
        image = images.get(stem, folder / "images" / f"{stem}.jpg")
        yield name, image, code, AFFECTNET_FOLDERS[folder.name], None


def _expression(path: Path) -> str:
    """Return the single value in an annotation file, which AffectNet stores as text."""
    with path.open("rb") as file:
        content = io.BytesIO(file.read(_ANNOTATION_BYTES))
    value = np.lib.format.read_array(content, allow_pickle=False)
    if value.size != 1:
        raise ValueError(f"{value.size} values, expected one")
    return str(value.item())
