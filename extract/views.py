"""View sets: the transformed looks at a chip that feature enhancement averages over.

zhou2019 §3.4 and Table 3: three rotations × three scales × flip, 18 views of each frame.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np


@dataclass(frozen=True)
class ViewSet:
    """Rotations (degrees, counter-clockwise), scales, and whether each is also mirrored.

    The views are ordered by rotation, then scale, then flip, as written.
    """

    name: str
    rotations: tuple[float, ...] = (0.0,)
    scales: tuple[float, ...] = (1.0,)
    flip: bool = False

    def __len__(self) -> int:
        return len(self.rotations) * len(self.scales) * (1 + self.flip)

    @property
    def identity(self) -> int:
        """The index of the view that changes nothing."""
        flips = 1 + self.flip
        return (self.rotations.index(0.0) * len(self.scales) + self.scales.index(1.0)) * flips

    def matrices(self, size: int) -> np.ndarray:
        """``[V, 2, 3]`` float64: from pixels of a ``size`` × ``size`` chip to pixels of each view.

        Rotation, scale and flip are about the chip's centre ``(size - 1) / 2``.
        """
        flips = (False, True) if self.flip else (False,)
        views = [_about_centre(size, *view) for view in product(self.rotations, self.scales, flips)]
        return np.stack(views)

    def settings(self) -> dict[str, object]:
        """What changes the values, for the key."""
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


def _about_centre(size: int, degrees: float, scale: float, flip: bool) -> np.ndarray:
    angle = np.deg2rad(degrees)
    cos, sin = scale * np.cos(angle), scale * np.sin(angle)
    linear = np.array([[cos, sin], [-sin, cos]])  # y points down, so this turns counter-clockwise
    if flip:
        linear = np.diag([-1.0, 1.0]) @ linear
    centre = np.full(2, (size - 1) / 2)
    return np.column_stack([linear, centre - linear @ centre])
