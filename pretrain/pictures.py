"""Labelled face pictures, as returned by the readers of data sets."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from .errors import PretrainError

Box = tuple[float, float, float, float]
"""``x0 y0 x1 y1`` in pixels."""


@dataclass(frozen=True)
class Picture:
    """One labelled picture, not read yet.

    Attributes:
        name: display name: a path, or a row of a table.
        read: function that returns uint8 ``[H, W]`` grey or ``[H, W, 3]`` RGB, or raises
            :class:`PretrainError` or :class:`OSError`.
        label: share of each class, C values that sum to 1; one-hot for a single class.
        part: ``train``, ``val`` or ``test`` if the data set defines it, else empty.
        group: group that must stay on one side of a split, such as a subject; empty if unknown.
        file: file with its pixels, alone or among others; None if there is none.
        box: box of its face, if the data set has one.
    """

    name: str
    read: Callable[[], np.ndarray]
    label: tuple[float, ...]
    part: str = ""
    group: str = ""
    file: Path | None = None
    box: Box | None = None


class Skipped(NamedTuple):
    """A sample that is left out, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class PictureSet:
    """All pictures of a data set, in an order that is the same each time.

    Attributes:
        name: name of the data set.
        classes: names of the C values of a label.
        pictures: pictures to read.
        skipped: pictures that cannot be read, for the user to check.
        licence: permitted use of the data.
        faces: how to crop faces, a name in :data:`avemo.pretrain.chips.FACES`.
        notes: remarks for the user, such as pictures left out by the data set's own rules.
    """

    name: str
    classes: tuple[str, ...]
    pictures: tuple[Picture, ...]
    skipped: tuple[Skipped, ...] = ()
    licence: str = ""
    faces: str = "whole"
    notes: tuple[str, ...] = ()

    def in_classes_of(self, classes: Sequence[str], weights: Path) -> PictureSet:
        """Return the set with labels in the order of ``classes``; raise :class:`PretrainError` for others."""
        require_known(self.classes, classes, "pictures", weights)
        places = [self.classes.index(name) if name in self.classes else None for name in classes]
        pictures = tuple(
            replace(picture, label=tuple(0.0 if place is None else picture.label[place] for place in places))
            for picture in self.pictures
        )
        return replace(self, classes=tuple(classes), pictures=pictures)


def require_known(found: Iterable[str], known: Sequence[str], what: str, weights: Path) -> None:
    """Raise :class:`PretrainError` if the network in ``weights`` does not know one of the labels found."""
    unknown = sorted({*found} - {*known})
    if unknown:
        raise PretrainError(
            f"{weights.name} has the classes {', '.join(known)}, but there are {what} of "
            f"{', '.join(unknown)}: leave them out (--without {unknown[0]}), or rename them with --labels"
        )


def one_hot(place: int, count: int) -> tuple[float, ...]:
    """Return a one-hot label of the class at ``place``."""
    return tuple(float(other == place) for other in range(count))
