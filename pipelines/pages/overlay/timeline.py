"""Scores of a video over time, and their files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ....fusion.files import write_csv, write_text

DIGITS = 6  # of seconds in files
BEFORE, BEHIND = ("start", "end", "class"), ("has_face", "has_sound")  # columns around those of the classes


@dataclass(frozen=True, eq=False)
class Timeline:
    """Scores of windows of a video.

    Attributes:
        classes: C names.
        seconds: how long the video is.
        spans: ``[n, 2]`` seconds in which windows begin and end.
        values: ``[n, C]`` probabilities.
        has_face, has_sound: ``[n]`` whether the face is in a picture of the window, and whether it has sound.
    """

    classes: tuple[str, ...]
    seconds: float
    spans: np.ndarray
    values: np.ndarray
    has_face: np.ndarray
    has_sound: np.ndarray

    @property
    def predicted(self) -> list[str]:
        """The most probable class of each window."""
        return [self.classes[best] for best in self.values.argmax(axis=1)]

    def notes(self) -> list[str]:
        """Each window's time, and what it lacks."""
        lacks = (("no face", self.has_face), ("no sound", self.has_sound))
        return [
            ", ".join([f"{start:.1f}-{end:.1f} s", *(word for word, has in lacks if not has[window])])
            for window, (start, end) in enumerate(self.spans)
        ]

    def summary(self) -> str:
        """How many windows there are, and how many lack something."""
        both = (("a face", self.has_face), ("sound", self.has_sound))
        lacking = [f"{(~has).sum()} without {what}" for what, has in both if not has.all()]
        return "; ".join([str(len(self.spans)), *lacking])

    def write_csv(self, path: Path) -> None:
        """Write ``start,end,class,<class>...,has_face,has_sound``, a row a window.

        Raises:
            FusionError: the file cannot be written.
        """
        spans = np.round(self.spans, DIGITS).tolist()
        flags = np.stack([self.has_face, self.has_sound], axis=1).astype(int).tolist()
        parts = zip(spans, self.predicted, self.values.tolist(), flags, strict=True)
        write_csv(path, [*BEFORE, *self.classes, *BEHIND], [[*s, best, *v, *f] for s, best, v, f in parts])

    def write_json(self, path: Path, facts: Mapping[str, Any]) -> None:
        """Write the same with ``facts`` before it.

        Raises:
            FusionError: the file cannot be written.
        """
        parts = zip(
            np.round(self.spans, DIGITS).tolist(),
            self.predicted,
            self.values.tolist(),
            self.has_face.tolist(),
            self.has_sound.tolist(),
            strict=True,
        )
        windows = [
            {
                "start": start,
                "end": end,
                "class": best,
                "scores": dict(zip(self.classes, values, strict=True)),
                "has_face": face,
                "has_sound": sound,
            }
            for (start, end), best, values, face, sound in parts
        ]
        content = {**facts, "seconds": round(self.seconds, DIGITS), "windows": windows}
        write_text(path, json.dumps(content, indent=1, allow_nan=False) + "\n")
