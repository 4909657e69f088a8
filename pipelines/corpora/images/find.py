"""Finds the labelled face pictures of a folder or table, recognises the data set and lists its faults."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from ....pretrain.errors import PretrainError
from ....pretrain.pictures import PictureSet
from ...errors import NotThisLayout
from ..clips.labels import names_an_emotion
from .affectnet import find_affectnet
from .fer2013 import find_fer2013
from .ferplus import find_ferplus
from .folders import find_picture_folders
from .found import FoundPictures, Options, PictureCorpus, picture_set
from .rafdb import find_rafdb

__all__ = ["IMAGE_SETS", "VOTES", "find_pictures"]

VOTES = ("majority", "soft")
SHOWN = 12  # number of folders listed in an error


@dataclass(frozen=True)
class PictureLayout:
    """A layout with an example, and the function that finds its pictures or raises NotThisLayout."""

    name: str
    example: str
    find: Callable[[PictureCorpus, Options], FoundPictures]


_LAYOUTS = {
    layout.name: layout
    for layout in (
        PictureLayout(
            "ferplus", "fer2013new.csv beside fer2013.csv, or FER2013Train/label.csv, …", find_ferplus
        ),
        PictureLayout("fer2013", "fer2013.csv or icml_face_data.csv", find_fer2013),
        PictureLayout(
            "rafdb", "EmoLabel/list_patition_label.txt and Image/aligned, or train/1 to test/7", find_rafdb
        ),
        PictureLayout(
            "affectnet", "training.csv and Manually_Annotated_Images, or train_set/images", find_affectnet
        ),
        PictureLayout(
            "folders", "Happy/one.jpg, Sad/two.png, or train/Happy/one.jpg, …", find_picture_folders
        ),
    )
}
IMAGE_SETS = ("auto", *_LAYOUTS)
"""The known data sets, in the order in which ``auto`` tries them."""


def find_pictures(
    path: Path,
    dataset: str = "auto",
    *,
    votes: str = "majority",
    faces: str = "auto",
    labels: Mapping[str, str] | None = None,
    without: Iterable[str] = (),
) -> PictureSet:
    """Find the labelled pictures in a folder or table.

    Args:
        path: folder, or CSV of one of the layouts.
        dataset: one of :data:`IMAGE_SETS`; ``auto`` takes the first whose layout fits.
        votes: how to turn the votes of FER+ into labels: ``majority`` for one class, ``soft`` for shares.
        faces: ``whole``, ``box`` or ``detect``; ``auto`` for the data set's default.
        labels: class in lower case → new class; others are left out. None keeps all.
        without: classes to leave out, by their new names.

    Raises:
        NotThisLayout: the path has neither the named layout nor, with ``auto``, any other.
        PretrainError: the layout fits, but there is no usable picture, or parts are missing or contradictory.
    """
    if dataset not in IMAGE_SETS:
        raise PretrainError(f"no data set '{dataset}', expected one of {', '.join(IMAGE_SETS)}")
    if votes not in VOTES:
        raise PretrainError(f"no vote rule '{votes}', expected {' or '.join(VOTES)}")
    if not path.exists():
        raise PretrainError(f"'{path}' does not exist: name a folder of pictures, or a CSV")
    source, options = PictureCorpus(path), Options(votes, faces)
    found = _find_named(source, options, dataset) if dataset != "auto" else _first_that_fits(source, options)
    if not found.pictures:
        first = f"; the first: {': '.join(found.skipped[0])}" if found.skipped else ""
        raise PretrainError(f"'{path}', read as {found.dataset}, has no picture that can be used{first}")
    if faces == "box" and not any(picture.box for picture in found.pictures):
        raise PretrainError(
            f"{found.dataset} in '{path}' has no face boxes: omit --faces, or use --faces detect"
        )
    pictures = picture_set(found, labels, without)
    return pictures if faces == "auto" else replace(pictures, faces=faces)


def _find_named(source: PictureCorpus, options: Options, layout: str) -> FoundPictures:
    try:
        return _LAYOUTS[layout].find(source, options)
    except NotThisLayout as error:
        raise NotThisLayout(f"'{source.path}' is not laid out as '{layout}': {error}") from error


def _first_that_fits(source: PictureCorpus, options: Options) -> FoundPictures:
    for layout in _LAYOUTS.values():
        with suppress(NotThisLayout):
            found = layout.find(source, options)
            if layout.name == "folders":
                _require_emotions(source, found)
            return found
    raise _unknown(source)


def _require_emotions(source: PictureCorpus, found: FoundPictures) -> None:
    """Refuse folders that may not be classes: 1 to 7 may or may not be RAF-DB's, others may be people.

    Raises:
        PretrainError: fewer than half of the folders are named after emotions.
    """
    counts = Counter(str(picture.label) for picture in found.pictures)
    if 2 * sum(map(names_an_emotion, counts)) < len(counts):
        folders = [f"{name} {count}" for name, count in counts.most_common(SHOWN)]
        more = f" and {len(counts) - SHOWN} more" if len(counts) > SHOWN else ""
        raise PretrainError(
            f"'{source.path}': its folders may be classes, but most are not named after an emotion: "
            f"{', '.join(folders)}{more}. --dataset folders uses them as classes; otherwise name the data "
            "set"
        )


def _unknown(source: PictureCorpus) -> NotThisLayout:
    layouts = "\n".join(f"  {layout.name}: {layout.example}" for layout in _LAYOUTS.values())
    return NotThisLayout(f"no labelled pictures in '{source.path}'. Expected one of\n{layouts}")
