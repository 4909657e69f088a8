"""The colours of overlays, contact sheets and figures, and of each class."""

from __future__ import annotations

from collections.abc import Sequence

# Okabe and Ito's colours (2008), which colour-blind readers can tell apart. Light ones are darkened and black
# is grey, so that each has a contrast of at least 3:1 on white and on an overlay's dark background.
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
"""Colours of other classes, in order; they repeat if there are more classes."""

BLUE, VERMILLION, GREY = "#0072b2", "#d55e00", "#8a8a8a"
"""Colours for two things compared and a reference (from Okabe and Ito)."""

GROUND, PANEL, TRACK, INK, FAINT, LINE = "#14171b", "#22282f", "#343841", "#eef0f2", "#a9b2bb", "#4a525b"
"""Colours of a dark picture: background, panels, bar tracks, text, secondary text, lines."""

FACE, NO_FACE, POINT, SPEECH, SILENCE = "#56b4e9", "#f0803c", "#f0e442", "#2fc79a", "#7c8690"
"""Colours on a contact sheet (Okabe and Ito's, lighter for the dark background)."""


def class_colours(classes: Sequence[str]) -> list[str]:
    """Return the colour ``#rrggbb`` of each class. An emotion always has the same colour."""
    from ..corpora.clips.labels import SYNONYMS

    emotions = [SYNONYMS.get(name.casefold(), "").casefold() for name in classes]
    others = iter(range(len(classes)))
    return [EMOTIONS[name] if name else SPARE[next(others) % len(SPARE)] for name in emotions]


def rgb(colour: str) -> tuple[int, int, int]:
    """Return red, green and blue of ``#rrggbb``, 0 to 255."""
    red, green, blue = bytes.fromhex(colour[1:])
    return red, green, blue
