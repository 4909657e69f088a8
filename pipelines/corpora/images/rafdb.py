"""Reads the basic emotions of RAF-DB (Li, Deng and Du 2017)."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path, PurePosixPath

from ....pretrain.errors import PretrainError
from ....pretrain.images import read_image
from ....pretrain.pictures import Skipped
from ...errors import NotThisLayout
from ..clips.found import FITTING_SHARE
from .found import FoundPictures, LabelledPicture, Options, PictureCorpus, file_exists

RAFDB_CLASSES = ("Surprise", "Fear", "Disgust", "Happy", "Sad", "Angry", "Neutral")
RAFDB_LICENCE = "RAF-DB: for non-commercial research only, not to be passed on"
RAFDB_LABELS = ("list_patition_label.txt", "list_partition_label.txt")
_CODES = {str(number): name for number, name in enumerate(RAFDB_CLASSES, 1)}
_NAME = re.compile(r"(?P<part>train|test)_\d+.*")


def find_rafdb(source: PictureCorpus, options: Options) -> FoundPictures:
    """Find the pictures of RAF-DB, in one of two layouts.

    Either ``EmoLabel/list_patition_label.txt`` with ``Image/aligned`` or ``Image/original``; or the folders
    ``train/1`` to ``test/7``, in which the aligned pictures are often distributed. Original pictures, with
    face detection, are used if there are no aligned ones or the user asks for detection.

    Raises:
        NotThisLayout: there are no such files.
        PretrainError: pictures are missing, or the labels are of compound emotions.
    """
    lists = source.look_for(*RAFDB_LABELS, depth=3)
    if not lists:
        return _find_in_class_folders(source)
    labels = min(lists, key=lambda path: "compound" in path.parts)
    base = labels.parent.parent if labels.parent.name == "EmoLabel" else labels.parent
    aligned = _folder(base, "aligned")
    original = _folder(base, "original")
    folder = original if original is not None and options.faces == "detect" else aligned or original
    if folder is None:
        raise PretrainError(
            f"{labels} holds labels, but there are no pictures: expected {base}/Image/aligned"
        )
    use_original = folder == original
    found = FoundPictures(
        "RAF-DB", RAFDB_CLASSES, [], licence=RAFDB_LICENCE, faces="detect" if use_original else "whole"
    )
    lines = labels.read_text(encoding="utf-8-sig", errors="replace").splitlines()
    rows = [(number, line.split()) for number, line in enumerate(lines, 1) if line.strip()]
    _require_basic(labels, [cells[-1] for _, cells in rows])
    for number, cells in rows:
        if len(cells) != 2:
            text = " ".join(cells)[:60]
            problem = f"'{text}', expected a file name and a number"
            found.skipped.append(Skipped(f"{labels.name} line {number}", problem))
        else:
            name, code = cells
            file = folder / name if use_original else folder / f"{Path(name).stem}_aligned{Path(name).suffix}"
            _add(found, name, file, code)
    return found


def _find_in_class_folders(source: PictureCorpus) -> FoundPictures:
    files = source.tree.files
    fitting = [file for file in files if _folder_code(file) in _CODES and _NAME.fullmatch(file.name)]
    if not fitting or len(fitting) < FITTING_SHARE * len(files):
        raise NotThisLayout(
            "expected EmoLabel/list_patition_label.txt and Image/aligned, or folders train/1 to test/7 of "
            "pictures named like train_00001_aligned.jpg; there is neither"
        )
    found = FoundPictures("RAF-DB", RAFDB_CLASSES, [], licence=RAFDB_LICENCE)
    for file in files:
        if len(file.parts) < 2:
            found.skipped.append(Skipped(str(file), "in none of the folders 1 to 7"))
        else:
            _add(found, str(file), source.tree.root / file, _folder_code(file))
    return found


def _folder_code(file: PurePosixPath) -> str:
    return file.parts[-2] if len(file.parts) > 1 else ""


def _folder(base: Path, name: str) -> Path | None:
    return next((path for path in (base / "Image" / name, base / name) if path.is_dir()), None)


def _require_basic(labels: Path, codes: list[str]) -> None:
    """Refuse RAF-DB's compound part: it has the same file names, and seven of its codes look basic."""
    high = sum(code in ("8", "9", "10", "11") for code in codes)
    if high * 100 > len(codes):
        raise PretrainError(
            f"{labels} holds the codes of RAF-DB's compound emotions, up to 11: name the folder of the basic "
            "ones"
        )


def _add(found: FoundPictures, name: str, file: Path, code: str) -> None:
    match = _NAME.fullmatch(file.name)
    if code not in _CODES:
        found.skipped.append(Skipped(name, f"expression '{code}', expected 1 to {len(_CODES)}"))
    elif match is None:
        found.skipped.append(Skipped(name, "named neither train_… nor test_…"))
    elif not file_exists(file):
        found.skipped.append(Skipped(name, f"there is no picture {file}"))
    else:
        picture = LabelledPicture(name, file, partial(read_image, file), _CODES[code], match["part"])
        found.pictures.append(picture)
