"""Facial expressions of the emotions, as displacements of the 68 landmarks.

The action units of the Facial Action Coding System (Ekman & Friesen 1978) are combined into emotions
as in EMFACS (Friesen & Ekman 1983). An action unit lists how far landmarks in the left half of the
picture move at full strength, as (outward, down) in units of the eye distance. The right half mirrors it.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

# fmt: off
ACTION_UNITS: Mapping[str, Mapping[int, tuple[float, float]]] = {
    "inner brow raiser": {19: (0, -.04), 20: (0, -.12), 21: (0, -.17), 38: (0, -.02)},
    "outer brow raiser": {17: (0, -.12), 18: (0, -.16), 19: (0, -.13), 20: (0, -.06)},
    "brow lowerer": {17: (0, .02), 18: (0, .05), 19: (-.02, .09), 20: (-.04, .13), 21: (-.06, .15)},
    "upper lid raiser": {37: (0, -.06), 38: (0, -.06)},
    "lid tightener": {37: (0, .03), 38: (0, .03), 40: (0, -.03), 41: (0, -.03)},
    "eye closure": {37: (0, .09), 38: (0, .09), 40: (0, -.01), 41: (0, -.01)},
    "nose wrinkler": {20: (-.02, .06), 21: (-.04, .09), 29: (0, -.03), 30: (0, -.04), 31: (.03, -.07),
                      32: (.01, -.05), 33: (0, -.03), 40: (0, -.03), 41: (0, -.03)},
    "upper lip raiser": {48: (0, -.02), 49: (.01, -.08), 50: (0, -.11), 51: (0, -.09),
                         60: (0, -.02), 61: (0, -.1), 62: (0, -.08)},
    "lip corner puller": {48: (.14, -.12), 49: (.08, -.04), 50: (.02, 0), 58: (.03, 0), 59: (.09, -.04),
                          60: (.13, -.11), 61: (.05, -.02), 67: (.05, -.02), 40: (0, -.02), 41: (0, -.02)},
    "lip corner depressor": {48: (.02, .13), 49: (0, .05), 59: (.01, .07), 60: (.02, .12),
                             61: (0, .04), 67: (0, .04)},
    "chin raiser": {8: (0, -.02), 50: (0, -.02), 51: (0, -.03), 57: (0, -.05), 58: (0, -.05),
                    61: (0, -.04), 62: (0, -.04), 66: (0, -.04), 67: (0, -.04)},
    "lip stretcher": {48: (.16, .04), 49: (.06, 0), 59: (.08, .02), 60: (.15, .04), 61: (.03, 0)},
    "lip presser": {48: (-.03, .02), 49: (0, .05), 50: (0, .06), 51: (0, .06), 57: (0, -.05),
                    58: (0, -.05), 59: (0, -.03), 60: (-.03, .02)},
    "jaw drop": {4: (0, .05), 5: (0, .14), 6: (0, .23), 7: (0, .29), 8: (0, .3), 48: (-.03, .09),
                 57: (0, .3), 58: (0, .29), 59: (.01, .2), 60: (-.03, .09), 66: (0, .3), 67: (0, .27)},
}
EXPRESSIONS: Mapping[str, Mapping[str, float]] = {
    "Angry": {"brow lowerer": .8, "upper lid raiser": .2, "lid tightener": .5, "lip presser": 1},
    "Disgust": {"nose wrinkler": 1.1, "upper lip raiser": 1, "lid tightener": .7, "lip corner depressor": .4},
    "Fear": {"inner brow raiser": .9, "outer brow raiser": .3, "brow lowerer": .3, "upper lid raiser": .8,
             "lip stretcher": 1, "jaw drop": .3},
    "Happy": {"lip corner puller": 1.6, "lid tightener": .4, "jaw drop": .35},
    "Neutral": {},
    "Sad": {"inner brow raiser": .9, "brow lowerer": .2, "eye closure": .35, "lip corner depressor": 1,
            "chin raiser": .7},
    "Surprise": {"inner brow raiser": .7, "outer brow raiser": .75, "upper lid raiser": .6, "jaw drop": 1},
}
# Depth of each landmark: 0 at the outline of the face, 1 at the tip of the nose.
DEPTH = np.array([
    0, 0, 0, .05, .1, .2, .3, .4, .45, .4, .3, .2, .1, .05, 0, 0, 0,  # jaw
    .25, .4, .5, .55, .55, .55, .55, .5, .4, .25, .5, .65, .85, 1, .6, .7, .75, .7, .6,  # brows, nose
    .2, .35, .35, .35, .35, .3, .35, .35, .35, .35, .2, .3,  # eyes
    .4, .55, .65, .65, .65, .55, .4, .5, .6, .6, .6, .5, .4, .6, .6, .6, .4, .6, .6, .6,  # lips
])
# Index of each landmark's mirror image across the midline.
MIRROR = np.array([
    *range(16, -1, -1), *range(26, 16, -1), 27, 28, 29, 30, 35, 34, 33, 32, 31,
    45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40,
    54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55, 64, 63, 62, 61, 60, 67, 66, 65,
])
# fmt: on
UNITS = tuple(ACTION_UNITS)


def weights(mixture: Mapping[str, float]) -> NDArray[np.float64]:
    """Return the strengths of a mixture of action units, ``[A]`` in the order of :data:`UNITS`."""
    return np.array([mixture.get(unit, 0.0) for unit in UNITS])


def displacements() -> NDArray[np.float64]:
    """Return each landmark's displacement by each unit at full strength, ``[A, 68, 2]`` in eye distances."""
    moves = np.zeros((len(UNITS), 68, 2))
    for unit, table in enumerate(ACTION_UNITS.values()):
        for landmark, (outward, down) in table.items():
            moves[unit, MIRROR[landmark]] = outward, down
            moves[unit, landmark] = (-outward if MIRROR[landmark] != landmark else outward), down
    return moves
