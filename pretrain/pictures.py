"""Labelled face pictures, as the readers of data sets return them."""

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
        name: what people call it: a path, or a row of a table.
        read: gives uint8 ``[H, W]`` grey or ``[H, W, 3]`` RGB; raises :class:`PretrainError` or
            :class:`OSError` where it cannot.
        label: the share of each class, C values that sum to 1; a single class is one 1 among zeros.
        part: ``train``, ``val`` or ``test`` where the data set says so, else empty.
        group: what must stay on one side of a split, as a subject; empty where nothing is known.
        file: where its pixels lie, alone or among others, if they lie in a file.
        box: of its face, where the data set says so.
    """

    name: str
    read: Callable[[], np.ndarray]
    label: tuple[float, ...]
    part: str = ""
    group: str = ""
    file: Path | None = None
    box: Box | None = None


class Skipped(NamedTuple):
    """A picture that is left out, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class PictureSet:
    """All pictures of a data set, in an order that is the same each time.

    Attributes:
        name: of the data set.
        classes: names of the C values of a label.
        pictures: those that can be tried.
        skipped: those that cannot, which should be looked at.
        licence: what the data may be used for.
        faces: how a face is taken out of each picture, a name in :data:`avemo.pretrain.chips.FACES`.
        notes: what the user should know, as what is left out by the data set's own rules.
    """

    name: str
    classes: tuple[str, ...]
    pictures: tuple[Picture, ...]
    skipped: tuple[Skipped, ...] = ()
    licence: str = ""
    faces: str = "whole"
    notes: tuple[str, ...] = ()

    def in_classes_of(self, classes: Sequence[str], weights: Path) -> PictureSet:
        """With labels in the order of a network's ``classes``; raises :class:`PretrainError` on others."""
        require_known(self.classes, classes, "pictures", weights)
        places = [self.classes.index(name) if name in self.classes else None for name in classes]
        pictures = tuple(
            replace(picture, label=tuple(0.0 if place is None else picture.label[place] for place in places))
            for picture in self.pictures
        )
        return replace(self, classes=tuple(classes), pictures=pictures)


def require_known(found: Iterable[str], known: Sequence[str], what: str, weights: Path) -> None:
    """Raises :class:`PretrainError` where labels were found that the network in ``weights`` cannot tell."""
    unknown = sorted({*found} - {*known})
    if unknown:
        raise PretrainError(
            f"{weights.name} tells {', '.join(known)} apart, but there are {what} of {', '.join(unknown)}: "
            f"leave them out (--without {unknown[0]}), or rename them by --labels"
        )


def one_hot(place: int, count: int) -> tuple[float, ...]:
    """A label that is wholly of the class at ``place``."""
    return tuple(float(other == place) for other in range(count))
