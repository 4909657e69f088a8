"""View sets: the transformed copies of a chip that feature enhancement averages over.

zhou2019 §3.4 and Table 3: three rotations × three scales × flip, 18 views per frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from .align import CHIP_SIZE, compose, window_transform

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class ViewSet:
    """Combinations of rotations (degrees, counter-clockwise), scales and optional mirroring.

    Views are ordered by rotation, then scale, then flip, as given.
    """

    name: str
    rotations: tuple[float, ...] = (0.0,)
    scales: tuple[float, ...] = (1.0,)
    flip: bool = False

    def __len__(self) -> int:
        return len(self.rotations) * len(self.scales) * (1 + self.flip)

    @property
    def identity(self) -> int:
        """Index of the untransformed view."""
        flips = 1 + self.flip
        return (self.rotations.index(0.0) * len(self.scales) + self.scales.index(1.0)) * flips

    def matrices(self, size: int) -> np.ndarray:
        """Return matrices ``[V, 2, 3]`` float64 from pixels of a chip to those of each view.

        Chip and views are ``size`` × ``size`` pixels; rotation, scale and flip are about the centre,
        ``(size - 1) / 2``.
        """
        flips = (False, True) if self.flip else (False,)
        views = [_about_centre(size, *view) for view in product(self.rotations, self.scales, flips)]
        return np.stack(views)

    def settings(self) -> dict[str, object]:
        """Return the settings that change the values, for the key."""
        return {
            "views.rotations": list(self.rotations),
            "views.scales": list(self.scales),
            "views.flip": self.flip,
        }


VIEW_SETS = {
    views.name: views
    for views in (
        ViewSet("none"),
        ViewSet("default", rotations=(-2.0, 0.0, 2.0), scales=(1.0, 1.03, 1.07), flip=True),
        ViewSet("wide", rotations=(-15.0, 0.0, 15.0), scales=(0.75, 1.0, 1.25), flip=True),
    )
}


def statistics_of(views: int) -> tuple[str, ...]:
    """Return the statistics of a view set with ``views`` views; a single view has no spread."""
    return ("basic", "mean", "std") if views > 1 else ("basic",)


class SharedViews:
    """The views of several view sets as a network's input; views that sets share are computed once.

    Args:
        sets: names in :data:`VIEW_SETS`.
        size: side of the network's input in pixels.
        window: square of the chip that the network sees (:attr:`.backbones.spec.BackboneSpec.window`).

    Attributes:
        matrices: ``[V, 2, 3]`` from the chip to each view.
        statistics: view set and statistic of each row returned by :meth:`reduced`.
    """

    def __init__(self, sets: Sequence[str], size: int, window: tuple[float, float, float]) -> None:
        self._sets = [VIEW_SETS[name] for name in sets]
        every = np.concatenate([views.matrices(CHIP_SIZE) for views in self._sets])
        unique, index = np.unique(every, axis=0, return_inverse=True)
        self._index = np.split(index.reshape(-1), np.cumsum([len(views) for views in self._sets])[:-1])
        self._places: dict[torch.device, list[torch.Tensor]] = {}
        self.matrices = compose(window_transform(window, CHIP_SIZE, size), unique)
        self.statistics = [(views.name, name) for views in self._sets for name in statistics_of(len(views))]

    def reduced(self, features: torch.Tensor) -> torch.Tensor:
        """Reduce features ``[T * V, D]`` to each frame's statistics ``[T, S, D]``, on the same device."""
        import torch

        features = features.reshape(-1, len(self.matrices), features.shape[-1])
        if features.device not in self._places:  # a copy to a GPU waits for everything computed there
            self._places[features.device] = [
                torch.from_numpy(index).to(features.device) for index in self._index
            ]
        rows = []
        for views, index in zip(self._sets, self._places[features.device], strict=True):
            of_set = features[:, index]
            rows.append(of_set[:, views.identity])
            if len(views) > 1:
                rows += [of_set.mean(1), of_set.std(1, unbiased=False)]
        return torch.stack(rows, dim=1)


def _about_centre(size: int, degrees: float, scale: float, flip: bool) -> np.ndarray:
    angle = np.deg2rad(degrees)
    cos, sin = scale * np.cos(angle), scale * np.sin(angle)
    linear = np.array([[cos, sin], [-sin, cos]])  # y points down, so this turns counter-clockwise
    if flip:
        linear = np.diag([-1.0, 1.0]) @ linear
    centre = np.full(2, (size - 1) / 2)
    return np.column_stack([linear, centre - linear @ centre])
