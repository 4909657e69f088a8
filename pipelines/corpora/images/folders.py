"""Finds pictures in class folders."""

from __future__ import annotations

from collections import Counter
from functools import partial

from ....pretrain.images import read_image
from ....pretrain.pictures import Skipped
from ...errors import NotThisLayout
from ..clips.folders import FOLDER_SPLITS, empty_class_folders
from ..clips.found import count_of, first_names
from .found import FoundPictures, LabelledPicture, Options, PictureCorpus

Folders = tuple[str, ...]


def find_picture_folders(source: PictureCorpus, options: Options) -> FoundPictures:
    """Find pictures in ``<Class>/<picture>``, optionally inside train, val and test.

    If there are such part folders, the class is the first folder inside the innermost of them. Otherwise it
    is the first folder below those that all pictures share. Pictures may lie deeper than their class folder.

    Raises:
        NotThisLayout: there are fewer than two classes.
    """
    tree = source.tree
    places = {file: _part_and_folders(file.parts[:-1]) for file in tree.files}
    has_parts = any(part for part, _ in places.values())
    shared = 0 if has_parts else _shared_depth([inner for _, inner in places.values() if inner])
    pictures: list[LabelledPicture] = []
    refused: Counter[str] = Counter()
    for file, (part, inner) in places.items():
        if len(inner) > shared and bool(part) == has_parts:
            path = tree.root / file
            pictures.append(LabelledPicture(str(file), path, partial(read_image, path), inner[shared], part))
        else:
            refused[str(file.parent)] += 1
    if len({picture.label for picture in pictures}) < 2:
        raise NotThisLayout(
            "expected two or more folders <Class>/<picture>, with or without train, val and test above; "
            f"found {first_names(tree.files) if tree.files else 'no picture'}"
        )
    empty = empty_class_folders(((picture.file, str(picture.label)) for picture in pictures), tree.root)
    return FoundPictures(
        source.path.resolve().name,
        sorted({str(picture.label) for picture in pictures}),
        pictures,
        [
            *(Skipped(item.path, item.why) for item in tree.left_out if not item.spare),
            *(
                Skipped(folder, f"not in a class folder; {count_of(count, 'picture')} not used")
                for folder, count in refused.items()
            ),
        ],
        notes=[f"without any picture: {', '.join(empty)}"] if empty else [],
    )


def _part_and_folders(folders: Folders) -> tuple[str, Folders]:
    """Return the part named by the innermost part folder, and the folders inside it."""
    for depth in reversed(range(len(folders))):
        if folders[depth].lower() in FOLDER_SPLITS:
            return FOLDER_SPLITS[folders[depth].lower()], folders[depth + 1 :]
    return "", folders


def _shared_depth(paths: list[Folders]) -> int:
    """Return the number of outer folders shared by all paths."""
    return next((depth for depth, level in enumerate(zip(*paths)) if len(set(level)) > 1), 0)  # noqa: B905
