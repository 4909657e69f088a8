"""The colours of overlays, contact sheets and figures, and one for each class."""

from __future__ import annotations

from collections.abc import Sequence

# Okabe and Ito's colours (2008), which colour-blind readers tell apart, the light ones darkened and black
# made grey, so that each has a contrast of 3:1 or more on white and on an overlay's dark ground.
EMOTIONS = {
    "angry": "#d55e00",
    "disgust": "#958a00",
    "fear": "#cc79a7",
    "happy": "#b87f00",
    "neutral": "#8a8a8a",
    "sad": "#1f78b4",
    "surprise": "#009e73",
}
SPARE = ("#3d93c7", "#9a6fd0", "#c0504d", "#5b9b3b", "#a0785a", "#2a9fa5")
"""For other classes, in their order; they repeat if there are more."""

BLUE, VERMILLION, GREY = "#0072b2", "#d55e00", "#8a8a8a"
"""Two things that are compared, and a reference (Okabe and Ito's)."""

GROUND, PANEL, TRACK, INK, FAINT, LINE = "#14171b", "#22282f", "#343841", "#eef0f2", "#a9b2bb", "#4a525b"
"""A dark picture: itself, panels, the tracks of bars, text, lesser text, and lines."""

FACE, NO_FACE, POINT, SPEECH, SILENCE = "#56b4e9", "#f0803c", "#f0e442", "#2fc79a", "#7c8690"
"""On a contact sheet: Okabe and Ito's, lighter, for the dark page."""


def class_colours(classes: Sequence[str]) -> list[str]:
    """``#rrggbb`` of each class: an emotion has its own whatever the others are."""
    from ..corpora.clips.labels import SYNONYMS

    emotions = [SYNONYMS.get(name.casefold(), "").casefold() for name in classes]
    others = iter(range(len(classes)))
    return [EMOTIONS[name] if name else SPARE[next(others) % len(SPARE)] for name in emotions]


def rgb(colour: str) -> tuple[int, int, int]:
    """Red, green and blue of ``#rrggbb``, 0-255."""
    red, green, blue = bytes.fromhex(colour[1:])
    return red, green, blue
