"""Expressions in a film over time: faces followed, each named by a network, smoothed."""

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
"""The views of each face, by the name that ``--tta`` takes."""
FACES, EXPRESSIONS = "faces", "expressions"

OnStep = Callable[[str, float], None]
"""Is told after each frame what is being done, ``faces`` or ``expressions``, and the frame's seconds."""


@dataclass(frozen=True)
class PredictSettings:
    """What decides the probabilities.

    Attributes:
        tta: a name in :data:`LOOKS`.
        detect_every: look for faces in every Nth frame.
        smooth: standard deviation in seconds of the Gaussian that smooths; 0 for none.
        face_seconds: the main face is that of so many seconds around each frame.
        detector, backbone: ``NAME`` or ``NAME@FILE`` each; ``auto``: see :func:`.choose_detector`.
        device, precision: as elsewhere; they change speed, and values only by rounding.
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
        spans: ``[n, 2]`` seconds in which windows begin and end.
        probabilities: ``[n, C]``, NaN without a face.
        faces: ``[n]`` share of the window's frames that have a face.
    """

    spans: np.ndarray
    probabilities: np.ndarray
    faces: np.ndarray


@dataclass(frozen=True, eq=False, repr=False)
class FilmExpressions:
    """Expressions of the main face in each of T frames of a film, as raters of photographs would name them.

    They are not what a person feels.

    Attributes:
        film: the file.
        classes: C names.
        times: ``[T]`` seconds.
        boxes: ``[T, 4]`` the face, ``x0 y0 x1 y1`` in pixels of the upright picture; NaN without a face.
        probabilities: ``[T, C]`` smoothed over time; NaN without a face.
        unsmoothed: ``[T, C]`` the same before smoothing.
        notes: what is worth knowing about this film: several people, no face.
        warnings: what of it is damaged.
        settings: what decided the values.
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
        """``[T]`` whether there is a face."""
        return ~np.isnan(self.boxes[:, 0])

    @property
    def seconds(self) -> float:
        """How long the film is; of one frame, 1/25 s."""
        return end_of(self.times) or 0.04

    @property
    def mean(self) -> np.ndarray:
        """``[C]`` the mean over all frames with a face; NaN without one."""
        return _mean(self.unsmoothed[self.has_face])

    def windows(self, seconds: float = 1.0, hop: float | None = None) -> FilmWindows:
        """The mean over the frames with a face in sliding windows.

        The last window ends with the film; a film no longer than a window is one.

        Args:
            seconds: of a window, > 0.
            hop: from one window's start to the next; None for ``seconds``, so that they do not overlap.
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
        """A row a frame: ``time``, ``x0 y0 x1 y1``, ``class`` (None without a face), and the classes.

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
    """The most probable class of each row; None for a row of NaN."""
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
    """The expressions in a film. It is read twice: to follow the main face, and to name its expressions.

    One frame is in memory at a time, and some 200 bytes for each frame that was read.

    Args:
        film: any video that FFmpeg reads.
        settings: None for the defaults.
        on_step: called as the work goes on.

    Raises:
        ClipError: the film cannot be read.
        ExtractError: a setting that cannot be used.
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
    """The network, loaded once a process.

    Raises:
        ExtractError: a setting that cannot be used.
    """
    return _classifier(settings.backbone, settings.tta, torch_device(settings.device), settings.precision)


def _named(
    classifier: FaceClassifier, media: Media, face: FollowedFace, on_frame: Callable[[float], None]
) -> np.ndarray:
    """``[T, C]`` probabilities of each frame; NaN without a face."""
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
        notes.append(f"has no face in any of the {face.examined} frames that were searched; nothing is named")
    if face.crowded:
        notes.append(
            f"shows several faces in {face.crowded} of the {face.examined} frames that were searched; the "
            "main one, the largest and longest seen around each moment, is followed"
        )
    return notes
