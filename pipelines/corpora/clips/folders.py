"""Data sets labelled by folders: AFEW, class folders, and unlabelled folders."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from ....cache.clips import Clip
from ...errors import NotThisDataset
from .found import FITTING_SHARE, ONLY_SPLIT, FoundClips, clip_at, count_of, first_names, one_per_id, path_id
from .scan import LeftOut, Tree

AFEW_CLASSES = ("Angry", "Disgust", "Fear", "Happy", "Neutral", "Sad", "Surprise")
_CLASS_OF_LOWER_CASE = {name.casefold(): name for name in AFEW_CLASSES}
AFEW_ID = re.compile(r"[0-9]{9}")
AFEW_SPLITS = {
    "train": re.compile(r"(?i:train(_afew)?)"),
    "val": re.compile(r"(?i:val(_afew)?)"),
    "test": re.compile(r"test|Test.*"),
}
FOLDER_SPLITS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}


class Place(NamedTuple):
    """A file's split and class according to its folders, or the name of an unknown class folder."""

    split: str | None = None
    label: str | None = None
    unknown_class: str | None = None


def find_afew(tree: Tree, named: bool = False) -> FoundClips:
    """Find the clips of AFEW, in any layout in which it is unpacked.

    Split folders may be at any depth and contain class folders; the test split may be flat. The root itself
    may be a split folder. If the test split has class folders, they are its labels.

    Args:
        tree: files to search.
        named: whether the user said that this is AFEW. If not, clips must have AFEW's file names, since
            other corpora have the same folders.

    Raises:
        NotThisDataset: the tree has another layout, or other file names.
    """
    places = {file: _afew_place(file.parts[:-1]) for file in tree.files}
    if not any(place.split for place in places.values()):
        places = {file: _afew_place((tree.root.name, *file.parts[:-1])) for file in tree.files}
    _require_afew(tree, places)
    if not named:
        _require_afew_names(tree, [file for file, place in places.items() if place.split])
    labelled = {"train", "val"} | {place.split for place in places.values() if place.label}
    clips: list[Clip] = []
    refused: list[tuple[PurePosixPath, str]] = []
    for file, place in places.items():
        if place.split and (place.label or place.split not in labelled):
            clips.append(clip_at(tree.root, file, place.split, place.label))
        else:
            refused.append((file, _why_not_afew(place)))
    kept, duplicates = one_per_id(clips, tree.root)
    return FoundClips(kept, "AFEW", [*tree.left_out, *_by_folder(refused), *duplicates])


def _afew_place(folders: tuple[str, ...]) -> Place:
    """Return the innermost split folder and the first class folder inside it."""
    for depth in reversed(range(len(folders))):
        for split, name in AFEW_SPLITS.items():
            if name.fullmatch(folders[depth]):
                inner = folders[depth + 1 :]
                label = next(
                    filter(None, (_CLASS_OF_LOWER_CASE.get(folder.casefold()) for folder in inner)), None
                )
                return Place(split, label, inner[-1] if inner and not label else None)
    return Place()


def _require_afew(tree: Tree, places: dict[PurePosixPath, Place]) -> None:
    """Require mostly AFEW's class folders; or, for a test split alone, a folder named after AFEW."""
    known = {(place.split, place.label) for place in places.values() if place.label}
    unknown = {(place.split, place.unknown_class) for place in places.values() if place.unknown_class}
    if len(known) > len(unknown):
        return
    names = {tree.root.name, *(part for file in tree.files for part in file.parts[:-1])}
    only_test = not known and any(place.split == "test" for place in places.values())
    if only_test and any("afew" in name.lower() or name == "Test_vid_Distribute" for name in names):
        return
    raise NotThisDataset(
        "expected folders Train, Val and Test (or Train_AFEW, …) with the class folders "
        f"{', '.join(AFEW_CLASSES)}; found {first_names(tree.files)}"
    )


def _require_afew_names(tree: Tree, files: list[PurePosixPath]) -> None:
    """Require at least half of the file names to be nine digits, or a folder named after AFEW."""
    folders = {tree.root.name, *(part for file in files for part in file.parts[:-1])}
    numbered = sum(AFEW_ID.fullmatch(file.stem) is not None for file in files)
    if 2 * numbered < len(files) and not any("afew" in folder.lower() for folder in folders):
        others = [file for file in files if not AFEW_ID.fullmatch(file.stem)]
        raise NotThisDataset(f"expected names of nine digits (000046280.avi); found {first_names(others)}")


def _why_not_afew(place: Place) -> str:
    if place.split is None:
        return "not inside a folder Train, Val or Test"
    if place.unknown_class is None:
        return f"lies in split '{place.split}' outside of its class folders"
    return f"unknown class folder '{place.unknown_class}' (expected one of {', '.join(AFEW_CLASSES)})"


def find_class_folders(tree: Tree) -> FoundClips:
    """Find clips in ``<Class>/<clip>``, optionally inside train, val and test; a test folder may be flat.

    The id of a clip is its path below the root, without its split folder and suffix.

    Raises:
        NotThisDataset: fewer than two classes, or too many files in other places.
    """
    outer = _shared_folders(tree.files)
    clips: list[Clip] = []
    refused: list[tuple[PurePosixPath, str]] = []
    for file in tree.files:
        split, folders = _split_and_folders(file.parts[outer:-1])
        if len(folders) == 1 or (not folders and split == "test"):
            own = PurePosixPath(*file.parts[:outer], *folders, file.name)
            label = folders[0] if folders else None
            clips.append(Clip(path_id(own), split, f"{tree.root}/{file}", label))
        else:
            refused.append((file, "deeper than a class folder" if folders else "not in a class folder"))
    classes = {clip.label for clip in clips if clip.label}
    if len(classes) < 2 or len(clips) < FITTING_SHARE * len(tree.files):
        others = [file for file, _ in refused] or tree.files
        raise NotThisDataset(
            "expected two or more folders <Class>/<clip>, with or without train, val and test above; "
            f"found {first_names(others)}"
        )
    kept, duplicates = one_per_id(clips, tree.root)
    dataset = f"class folders ({len(classes)} classes)"
    return FoundClips(kept, dataset, [*tree.left_out, *_by_folder(refused), *duplicates])


def _shared_folders(files: list[PurePosixPath]) -> int:
    """Return how many outer folders all files share, up to the first that names a split."""
    shared = 0
    for level in zip(*(file.parts[:-1] for file in files), strict=False):
        if len(set(level)) > 1 or level[0].lower() in FOLDER_SPLITS:
            break
        shared += 1
    return shared


def _split_and_folders(folders: tuple[str, ...]) -> tuple[str, tuple[str, ...]]:
    split = FOLDER_SPLITS.get(folders[0].lower()) if folders else None
    return (split, folders[1:]) if split else (ONLY_SPLIT, folders)


def empty_class_folders(labels: Iterable[tuple[Path, str | None]], root: Path) -> list[str]:
    """Return the folders beside the class folders that contain no file.

    Args:
        labels: files with their classes.
        root: folder that was searched; results are relative to it.
    """
    folders = {file.parent: label or "" for file, label in labels}
    paths = {folder: (folder, *folder.parents) for folder in folders}
    used = {outer for path in paths.values() for outer in path}
    parents = {
        outer.parent
        for folder, path in paths.items()
        for outer in path
        if outer.name.casefold() == folders[folder].casefold() and root in outer.parents
    }
    inner = {folder for parent in parents for folder in parent.iterdir() if folder.is_dir()}
    return [
        str(folder.relative_to(root))
        for folder in sorted(inner - used)
        if not folder.name.startswith((".", "__"))
    ]


def find_flat(tree: Tree) -> FoundClips:
    """Return all media files as unlabelled clips; an id is the path below the root without the suffix."""
    clips = [Clip(path_id(file), ONLY_SPLIT, f"{tree.root}/{file}") for file in tree.files]
    kept, duplicates = one_per_id(clips, tree.root)
    return FoundClips(kept, "unlabelled clips (no data set recognised)", [*tree.left_out, *duplicates])


def _by_folder(refused: Iterable[tuple[PurePosixPath, str]]) -> list[LeftOut]:
    """Return one entry per folder and reason, with the number of files not used."""
    counts = Counter((str(file.parent), reason) for file, reason in refused)
    return [
        LeftOut(folder, reason, detail=f"{count_of(count, 'file')} not used")
        for (folder, reason), count in counts.items()
    ]
