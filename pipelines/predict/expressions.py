"""Recognises expressions in a film over time: follows the main face, classifies it, smooths the result."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...extract.decode.media import Media
from ...extract.detectors import load_detector
from ...extract.devices import torch_device
from ...extract.errors import ClipError
from ...extract.follow import FollowedFace, follow
from ...extract.views import VIEW_SETS
from ...fusion.features.corpus import end_of
from ...fusion.features.windows import window_spans
from ..detector_choice import choose_detector
from .classifier import FaceClassifier
from .smoothing import smoothed

if TYPE_CHECKING:
    import pandas
    from torch import Tensor

MEANING = (
    "Expressions as raters of photographs would name them. They are not what a person feels; do not use them "
    "to judge people."
)
LOOKS = {**VIEW_SETS, "flip": replace(VIEW_SETS["none"], name="flip", flip=True)}
"""View sets by their names for ``--tta``."""
FACES, EXPRESSIONS = "faces", "expressions"

OnStep = Callable[[str, float], None]
"""Called after each frame with the current step, ``faces`` or ``expressions``, and the frame's seconds."""


@dataclass(frozen=True)
class PredictSettings:
    """The settings that determine the probabilities.

    Attributes:
        tta: a name in :data:`LOOKS`.
        detect_every: run the face detector on every Nth frame.
        smooth: standard deviation in seconds of a Gaussian filter over time; 0 for none.
        face_seconds: length in seconds of the time window around each frame in which the main face is chosen.
        detector: ``NAME`` or ``NAME@FILE``; for ``auto``, see :func:`.choose_detector`.
        backbone: face network, ``NAME`` or ``NAME@FILE``.
        device, precision: device and precision of the network; they affect values only by rounding.
    """

    tta: str = "none"
    detect_every: int = 5
    smooth: float = 0.2
    face_seconds: float = 3.0
    detector: str = "auto"
    backbone: str = "ferplusnet"
    device: str = "auto"
    precision: str = "auto"

    def __post_init__(self) -> None:
        if self.tta not in LOOKS:
            raise ValueError(f"tta {self.tta!r}: expected one of {', '.join(LOOKS)}")
        if self.detect_every < 1:
            raise ValueError(f"detect_every {self.detect_every}: expected 1 or more frames")
        if self.smooth < 0 or self.face_seconds <= 0:
            raise ValueError(
                f"smooth {self.smooth}, face_seconds {self.face_seconds}: expected 0 or more seconds, and "
                "more than 0"
            )


@dataclass(frozen=True, eq=False)
class FilmWindows:
    """Probabilities over windows of a film.

    Attributes:
        spans: ``[n, 2]`` start and end of the windows in seconds.
        probabilities: ``[n, C]``, NaN without a face.
        faces: ``[n]`` share of frames with a face.
    """

    spans: np.ndarray
    probabilities: np.ndarray
    faces: np.ndarray


@dataclass(frozen=True, eq=False, repr=False)
class FilmExpressions:
    """Expressions of the main face in each of T frames of a film, as raters of photographs would name them.

    They do not show what a person feels.

    Attributes:
        film: the file.
        classes: C names.
        times: ``[T]`` seconds.
        boxes: ``[T, 4]`` face boxes ``x0 y0 x1 y1`` in pixels of the upright picture; NaN without a face.
        probabilities: ``[T, C]`` probabilities smoothed over time; NaN without a face.
        unsmoothed: ``[T, C]`` probabilities before smoothing.
        notes: remarks about this film, such as several people or no face.
        warnings: damage found in the file.
        settings: settings that determined the values.
    """

    film: Path
    classes: tuple[str, ...]
    times: np.ndarray
    boxes: np.ndarray
    probabilities: np.ndarray
    unsmoothed: np.ndarray
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        best = named(self.classes, self.mean[None])[0]
        most = f"mostly {best} ({self.mean.max():.2f})" if best else "no expression"
        return (
            f"<{self.film}: {self.seconds:.1f} s, {len(self.times)} frames, {self.has_face.mean():.0%} with "
            f"a face, {most}>"
        )

    @cached_property
    def has_face(self) -> np.ndarray:
        """``[T]`` whether each frame has a face."""
        return ~np.isnan(self.boxes[:, 0])

    @property
    def seconds(self) -> float:
        """Length of the film in seconds; 1/25 s for a single frame."""
        return end_of(self.times) or 0.04

    @property
    def mean(self) -> np.ndarray:
        """``[C]`` mean unsmoothed probabilities over all frames with a face; NaN if there are none."""
        return _mean(self.unsmoothed[self.has_face])

    def windows(self, seconds: float = 1.0, hop: float | None = None) -> FilmWindows:
        """Average over the frames with a face in sliding windows.

        The last window ends with the film. A film no longer than a window is one window.

        Args:
            seconds: length of a window, above 0.
            hop: seconds from the start of one window to the next, above 0; None for ``seconds`` (no overlap).
        """
        if seconds <= 0 or (hop is not None and hop <= 0):
            raise ValueError(f"windows of {seconds} seconds, every {hop}: expected numbers above 0")
        spans = window_spans(self.seconds, seconds, hop or seconds)
        places = np.searchsorted(self.times, spans - 1e-6)
        places[0, 0], places[-1, 1] = 0, len(self.times)
        parts = [slice(*place) for place in places.tolist()]
        faces = [self.has_face[part] for part in parts]
        return FilmWindows(
            spans,
            np.stack([_mean(self.unsmoothed[part][seen]) for part, seen in zip(parts, faces, strict=True)]),
            np.array([float(seen.mean()) if len(seen) else 0.0 for seen in faces]),
        )

    def to_pandas(self) -> pandas.DataFrame:
        """Return a row per frame: ``time``, ``x0 y0 x1 y1``, ``class`` (None without a face), and classes.

        Raises:
            ImportError: pandas is not installed.
        """
        try:
            import pandas
        except ImportError as error:
            raise ImportError("to_pandas() needs pandas: `pip install pandas`") from error
        table = pandas.DataFrame({"time": self.times})
        table[["x0", "y0", "x1", "y1"]] = self.boxes
        table["class"] = named(self.classes, self.probabilities)
        table[list(self.classes)] = self.probabilities
        return table


def named(classes: tuple[str, ...], probabilities: np.ndarray) -> list[str | None]:
    """Return the most probable class of each row; None for a row of NaN."""
    known = ~np.isnan(probabilities[:, 0])
    best = np.where(known[:, None], probabilities, 0).argmax(axis=1)
    return [classes[place] if seen else None for place, seen in zip(best.tolist(), known, strict=True)]


def _mean(rows: np.ndarray) -> np.ndarray:
    return rows.mean(axis=0) if len(rows) else np.full(rows.shape[1], np.nan, rows.dtype)


def nothing(step: str, seconds: float) -> None:
    """A callback that does nothing."""


def expressions_of(
    film: str | Path, settings: PredictSettings | None = None, on_step: OnStep = nothing
) -> FilmExpressions:
    """Recognise the expressions in a film, reading it twice: to follow the main face, and to classify it.

    Only one frame is in memory at a time, plus about 200 bytes per frame of the film.

    Args:
        film: any video that FFmpeg can read.
        settings: None for the defaults.
        on_step: progress callback.

    Raises:
        ClipError: the film cannot be read.
        ExtractError: a setting is invalid.
    """
    settings = settings or PredictSettings()
    classifier = classifier_of(settings)
    media = Media(film)
    detector = load_detector(choose_detector(settings.detector).text)
    face = follow(
        media,
        detector,
        settings.detect_every,
        settings.face_seconds,
        lambda seconds: on_step(FACES, seconds),
    )
    values = _named(classifier, media, face, lambda seconds: on_step(EXPRESSIONS, seconds))
    facts = {**asdict(settings), **detector.settings(), **classifier.settings}
    return FilmExpressions(
        media.path,
        classifier.classes,
        face.times,
        face.boxes,
        smoothed(face.times, values, face.shots, settings.smooth),
        values,
        tuple(_notes(face, media)),
        tuple(media.warnings),
        facts,
    )


@cache
def _classifier(backbone: str, tta: str, device: str, precision: str) -> FaceClassifier:
    return FaceClassifier(backbone, LOOKS[tta], device, precision)


def classifier_of(settings: PredictSettings) -> FaceClassifier:
    """Return the network, loaded once per process.

    Raises:
        ExtractError: a setting is invalid.
    """
    return _classifier(settings.backbone, settings.tta, torch_device(settings.device), settings.precision)


def _named(
    classifier: FaceClassifier, media: Media, face: FollowedFace, on_frame: Callable[[float], None]
) -> np.ndarray:
    """Return unsmoothed probabilities ``[T, C]`` of each frame; NaN without a face."""
    values = np.full((len(face.times), len(classifier.classes)), np.nan, np.float32)
    has_face = face.has_face
    waiting: dict[int, Tensor] = {}

    def run() -> None:
        if waiting:
            values[list(waiting)] = classifier(list(waiting.values()))
            waiting.clear()

    count = 0
    for number, frame in enumerate(media.frames() if has_face.any() else ()):
        count += 1
        if number < len(values) and has_face[number]:
            waiting[number] = classifier.looks(frame.image, face.transform(number))
            if len(waiting) >= classifier.faces_at_once:
                run()
        on_frame(frame.time)
    run()
    if has_face.any() and count != len(values):
        raise ClipError(f"gave {len(values)} frames at first and {count} when read again; replace the file")
    return values


def _notes(face: FollowedFace, media: Media) -> list[str]:
    notes = list(media.notes)
    if not face.has_face.any():
        notes.append(f"has no face in any of the {face.examined} frames searched; there are no expressions")
    if face.crowded:
        notes.append(
            f"shows several faces in {face.crowded} of the {face.examined} frames that were searched; the "
            "main one, the largest and longest seen around each moment, is followed"
        )
    return notes
