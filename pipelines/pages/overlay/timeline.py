"""Scores of a video over time, and their CSV and JSON files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ....fusion.files import write_csv, write_text

DIGITS = 6  # decimals of seconds in files
BEFORE, AFTER = ("start", "end", "class"), ("has_face", "has_sound")  # columns before and after the classes


@dataclass(frozen=True, eq=False)
class Timeline:
    """Scores of a video's windows.

    Attributes:
        classes: C class names.
        seconds: duration of the video.
        spans: ``[n, 2]`` start and end of each window in seconds.
        values: ``[n, C]`` probabilities.
        has_face: ``[n]`` whether the face is in any picture of a window.
        has_sound: ``[n]`` whether a window has sound.
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
        """Describe each window: its time, and whether face or sound are missing."""
        lacks = (("no face", self.has_face), ("no sound", self.has_sound))
        return [
            ", ".join([f"{start:.1f}-{end:.1f} s", *(word for word, has in lacks if not has[window])])
            for window, (start, end) in enumerate(self.spans)
        ]

    def summary(self) -> str:
        """Describe the number of windows, and of windows without face or sound."""
        both = (("a face", self.has_face), ("sound", self.has_sound))
        lacking = [f"{(~has).sum()} without {what}" for what, has in both if not has.all()]
        return "; ".join([str(len(self.spans)), *lacking])

    def write_csv(self, path: Path) -> None:
        """Write a CSV ``start,end,class,<class>...,has_face,has_sound`` with a row per window.

        Raises:
            FusionError: the file cannot be written.
        """
        spans = np.round(self.spans, DIGITS).tolist()
        flags = np.stack([self.has_face, self.has_sound], axis=1).astype(int).tolist()
        parts = zip(spans, self.predicted, self.values.tolist(), flags, strict=True)
        write_csv(path, [*BEFORE, *self.classes, *AFTER], [[*s, best, *v, *f] for s, best, v, f in parts])

    def write_json(self, path: Path, facts: Mapping[str, Any]) -> None:
        """Write the same as JSON, preceded by ``facts``.

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
