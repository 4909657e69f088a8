"""The stream ``faces``: the main face of a clip, frame by frame."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from ...cache.keys import FeatureKey
from ...cache.writer import Outcome
from ..decode.media import Frame, Media
from ..detectors import load_detector
from ..follow import FaceSearch
from ..plan import Plan
from ..stopwatch import DETECT, clocked
from ..track import SETTINGS, Track, face_arrays
from .base import ClipPictures, OnFrame, PictureStream, Settings, ignore_frame

FACES = "faces"
FRAME_BYTES = 128 << 20


class FaceStream(PictureStream):
    """The track of the main face, as returned by :func:`.track.face_arrays`."""

    def settings(self, others: Settings) -> Settings:
        plan = self.plan
        found: dict[str, Any] = {
            **SETTINGS,
            **load_detector(plan.detector).settings(),
            "max_frames": plan.max_frames,
        }
        if plan.face_seconds is not None:
            found["track.seconds"] = plan.face_seconds
        if plan.detect_every > 1:
            found["detect_every"] = plan.detect_every
        return {FACES: found}

    def load(self) -> None:
        load_detector(self.plan.detector)(np.zeros((96, 96, 3), np.uint8))

    def make(self, pictures: ClipPictures, wanted: Mapping[str, FeatureKey]) -> Iterator[Outcome]:
        faces, changes = pictures.faces, pictures.media.changes
        info: dict[str, Any] = {"frames": len(faces["times"]), "faces": int(faces["has_face"].sum())}
        if changes:
            info["pictures"] = changes
        yield Outcome(wanted[FACES], info=info, arrays=faces)


@clocked(DETECT)
def find_faces(
    plan: Plan, media: Media, on_frame: OnFrame = ignore_frame
) -> tuple[dict[str, np.ndarray], Iterable[Frame]]:
    """Find the track of a clip's main face; return it with the frames, kept in memory or decoded again.

    The main track is known only after the whole clip has been searched.

    Raises:
        ClipError: no frame can be decoded.
    """
    detector = load_detector(plan.detector)
    search = FaceSearch(detector, plan.detect_every)
    sizes: list[tuple[int, int]] = []
    kept: list[Frame] | None = []
    kept_bytes = 0
    for frame in search.frames(media):
        sizes.append((frame.image.shape[0], frame.image.shape[1]))
        kept_bytes += frame.image.nbytes
        if kept_bytes > FRAME_BYTES:
            kept = None
        if kept is not None:
            kept.append(frame)
        on_frame("faces", frame.time)
    around, tracker = plan.face_seconds, search.tracker
    track = tracker.main() if around is None else tracker.main_around(search.times_examined, around)
    faces = face_arrays(search.times, Track(search.interpolate(track.faces)), sizes, detector.layout)
    return faces, media if kept is None else kept


def no_face_note(plan: Plan, media: Media, frames: int) -> str:
    """Return the remark on a clip with no face in any of its ``frames``."""
    detector = load_detector(plan.detector)
    side, smallest = getattr(detector, "max_side", 0), getattr(detector, "smallest", 0)
    shrinkage = max(media.size) / side if side and smallest else 0.0
    searched = len({*range(0, frames, plan.detect_every), frames - 1})
    found = f"has no face in any of {searched} frames"
    if shrinkage > 2:
        width, height = media.size
        found += (
            f" of {width} × {height} pixels, where faces narrower than {shrinkage * smallest:.0f} are not "
            "found"
        )
    return f"{found}; whole frames are used"
