"""Shared by the readers of picture sets: source, result and class names."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ....pretrain.errors import PretrainError
from ....pretrain.images import SUFFIXES
from ....pretrain.pictures import Box, Picture, PictureSet, Skipped, one_hot
from .. import tables
from ..clips.folders import AFEW_CLASSES
from ..clips.found import count_of
from ..clips.labels import SYNONYMS
from ..clips.scan import Tree, scan

EMOTIONS = tuple(sorted((*AFEW_CLASSES, "Contempt")))

_SYNONYMS = SYNONYMS | dict.fromkeys(("contempt", "contemptuous"), "Contempt")


@dataclass(frozen=True)
class Options:
    """``votes`` is ``majority`` or ``soft``; ``faces`` is ``auto``, ``whole``, ``box`` or ``detect``."""

    votes: str = "majority"
    faces: str = "auto"


@dataclass(frozen=True)
class PictureCorpus:
    """The folder or file that the user named."""

    path: Path

    @cached_property
    def tree(self) -> Tree:
        """All pictures below the path, without the folders that macOS adds to archives."""
        if not self.path.is_dir():
            return Tree(self.path.absolute().parent, [], [])
        tree = scan(self.path, SUFFIXES)
        kept = [file for file in tree.files if "__MACOSX" not in file.parts]
        return Tree(tree.root, kept, tree.left_out)

    def look_for(self, *names: str, depth: int = 2) -> list[Path]:
        """Return files or folders with these names: the path itself, or up to ``depth`` folders inside it."""
        if self.path.name in names:
            return [self.path]
        patterns = ("*/" * level + name for name in names for level in range(depth + 1))
        found = (path for pattern in patterns for path in sorted(self.path.glob(pattern)))
        return [path for path in found if "__MACOSX" not in path.parts]


class LabelledPicture(NamedTuple):
    """A picture with its class, or with class → share."""

    name: str
    file: Path
    read: Callable[[], np.ndarray]
    label: str | Mapping[str, float]
    part: str = ""
    box: Box | None = None


@dataclass
class FoundPictures:
    """Result of a reader, from which :func:`picture_set` makes a :class:`PictureSet`."""

    dataset: str
    classes: Sequence[str]
    pictures: list[LabelledPicture]
    skipped: list[Skipped] = field(default_factory=list)
    licence: str = ""
    faces: str = "whole"
    notes: list[str] = field(default_factory=list)


csv_rows = partial(tables.csv_rows, error=PretrainError, tolerant=True)


def file_exists(file: Path) -> bool:
    """Return whether a file exists; False for names that the file system cannot hold."""
    try:
        return file.is_file()
    except OSError:
        return False


def picture_set(found: FoundPictures, labels: Mapping[str, str] | None, without: Iterable[str]) -> PictureSet:
    """Make a picture set with renamed classes, in alphabetical order.

    Without ``labels``, classes that differ from one of :data:`EMOTIONS` only in case take its spelling.

    Args:
        found: result of a reader.
        labels: class in lower case → new class; others are left out. None keeps all.
        without: classes to leave out, by their new names; for soft labels, the class with the largest share
            decides.

    Raises:
        PretrainError: a class is unknown, two classes seem to be the same, or fewer than two remain.
    """
    new_names, classes = class_names(found.dataset, found.classes, labels, set(without))
    one_hots = {name: one_hot(place, len(classes)) for place, name in enumerate(classes)}
    pictures = []
    for picture in found.pictures:
        if isinstance(picture.label, str):
            label = one_hots.get(new_names.get(picture.label, ""))
        else:
            label = _shares(picture.label, new_names, classes)
        if label is not None:
            pictures.append(
                Picture(picture.name, picture.read, label, picture.part, "", picture.file, picture.box)
            )
    dropped = {*without} | ({*found.classes} - {*new_names})
    notes = list(found.notes)
    if dropped:
        count = count_of(len(found.pictures) - len(pictures), "picture")
        notes.append(f"{count} of {', '.join(sorted(dropped))} left out, as asked")
    return PictureSet(
        found.dataset,
        classes,
        tuple(pictures),
        tuple(found.skipped),
        found.licence,
        found.faces,
        tuple(notes),
    )


def class_names(
    dataset: str, found: Iterable[str], labels: Mapping[str, str] | None, without: Collection[str]
) -> tuple[dict[str, str], tuple[str, ...]]:
    """Return class → new class, and the new classes that remain; see :func:`picture_set`."""
    found = sorted(set(found))
    if labels is None:
        _require_distinct(found)
        new_names = {name: _usual_spelling(name) for name in found}
    else:
        spellings = {name.casefold(): name for name in found}
        _require_known(labels, spellings, found, "kept")
        new_names = {name: labels[name.casefold()] for name in found if name.casefold() in labels}
    _require_known(without, new_names.values(), new_names.values(), "left out")
    classes = tuple(sorted(set(new_names.values()) - set(without)))
    if len(classes) < 2:
        raise PretrainError(
            f"{dataset}: only {', '.join(classes) or 'no class'} is left, expected two classes or more"
        )
    return new_names, classes


def _usual_spelling(name: str) -> str:
    return next((emotion for emotion in EMOTIONS if emotion.casefold() == name.casefold()), name)


def _require_known(names: Iterable[str], known: Iterable[str], shown: Iterable[str], verb: str) -> None:
    known_names = {*known}
    for name in names:
        if name not in known_names:
            available = ", ".join(sorted({*shown}))
            raise PretrainError(
                f"unknown class '{name}', so it cannot be {verb}; the classes are {available}"
            )


def _require_distinct(names: Iterable[str]) -> None:
    """Refuse names that differ only in case or are synonyms: the user must say whether they are one class."""
    alike: dict[str, list[str]] = {}
    for name in names:
        alike.setdefault(_SYNONYMS.get(name.casefold(), name.casefold()), []).append(name)
    for first, *others in alike.values():
        if others:
            raise PretrainError(
                f"classes '{first}' and '{others[0]}' seem to be the same: name the classes to keep "
                f"by --labels, with {others[0]}={first} if they are one"
            )


def _shares(
    label: Mapping[str, float], new_names: Mapping[str, str], classes: Sequence[str]
) -> tuple[float, ...] | None:
    """Return the shares of the remaining classes; None if the class with the largest share is left out."""
    names = {name: new_names.get(name, f"not kept: {name}") for name in sorted(label)}
    shares = dict.fromkeys(names.values(), 0.0)
    for name, share in label.items():
        shares[names[name]] += share
    if max(shares, key=shares.__getitem__) not in classes:
        return None
    total = sum(shares[name] for name in classes)
    return tuple(shares[name] / total for name in classes)
