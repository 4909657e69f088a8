"""What a stream is, and what streams are made of: a clip's pictures, or its sound.

A :class:`PictureStream` or :class:`SoundStream` makes what it gives of a clip in one go, and fails alone.
Mostly that is one stream of the store; views are several, which share one pass over the frames.

Arrays have time first, ``[T, ...]``. With them goes ``times``, in seconds since the start of the clip:
``[T]`` float64, the middle of each row; or ``[T, 2]``, start and end, of rows that are pieces of the clip
(segments). Stage 2 knows no more than that of how the rows were made.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np

from ...cache.keys import FeatureKey
from ...cache.writer import Outcome
from ..decode.media import Frame, Media
from ..errors import ClipError
from ..plan import Plan
from ..stopwatch import step

SAMPLES_AT_ONCE = 1 << 20

Settings = Mapping[str, Mapping[str, Any]]
"""By the names of streams, what decides their values, as JSON values."""

OnFrame = Callable[[str, float], None]
"""Is told after each frame what is being made, ``faces`` or ``features``, and the frame's time in seconds."""


def unwatched(step: str, seconds: float) -> None:
    """A callback that does nothing."""


class Absent(Exception):
    """A clip has not got what a stream is made of, which is no failure; the text says what is not there."""


@dataclass
class ClipPictures:
    """A clip's pictures, with its main face found in them.

    Attributes:
        media: the clip's file.
        faces: the face track, as :func:`.track.face_arrays` gives it.
        kept: the frames, which may be read again and again.
        spool: folder for arrays too long for memory.
        on_frame: to be called after each frame.
        changes: of a track that was stored, what was done to the pictures that it was found in
            (:attr:`.decode.media.Media.changes`); None where it was found in these pictures.
    """

    media: Media
    faces: Mapping[str, np.ndarray]
    kept: Iterable[Frame]
    spool: Path
    on_frame: OnFrame
    changes: Sequence[str] | None = None

    def frames(self) -> Iterator[tuple[Frame, np.ndarray]]:
        """Each frame, and the transform ``[2, 3]`` from it to the aligned face.

        Raises:
            ClipError: they are not the pictures that the face was found in; told after the last one.
        """
        transforms = self.faces["transform"]
        count = 0
        for frame, transform in zip(self.kept, transforms, strict=False):
            count += 1
            yield frame, transform
        if count != len(transforms):
            raise ClipError(
                f"gave {len(transforms)} frames at first and {count} when read again; replace the file"
            )
        if self.changes is not None and list(self.changes) != self.media.changes:
            told = ", ".join(self.media.changes) or "changed"
            raise ClipError(
                f"has a face track of pictures that were not {told}, as an earlier version read them; "
                "remove the clip by avemo store remove, and extract it again"
            )


@dataclass
class ClipSound:
    """A clip's sound, mono at 16 kHz.

    Attributes:
        samples: ``[N]`` float32, N ≥ 1; a memory map where it is long.
        info: what was done about a sound that is unusual, for the store.
        spool: folder for arrays too long for memory.
        note: is told what the user should know of the clip.
    """

    samples: np.ndarray
    info: Mapping[str, Any]
    spool: Path
    note: Callable[[str], None]

    def blocks(self) -> Iterator[np.ndarray]:
        """The samples in blocks that fit into memory."""
        for start in range(0, len(self.samples), SAMPLES_AT_ONCE):
            step()
            yield np.asarray(self.samples[start : start + SAMPLES_AT_ONCE])


StreamSource = TypeVar("StreamSource", ClipPictures, ClipSound)


class Stream(ABC, Generic[StreamSource]):
    """What is made of a clip in one go; subclass :class:`PictureStream` or :class:`SoundStream`."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan

    @classmethod
    def planned(cls, plan: Plan) -> Sequence[Stream[StreamSource]]:
        """What ``plan`` asks for of this kind. Here: one, whatever the plan."""
        return [cls(plan)]

    @abstractmethod
    def settings(self, others: Settings) -> Settings:
        """The streams that it gives, and what decides their values beyond how clips are read.

        Args:
            others: the same of all streams before it.

        Raises:
            ExtractError: the plan names what cannot be used.
        """

    def load(self) -> None:
        """Load what :meth:`make` needs, to know before the first clip whether it can be used. Here: nothing.

        Raises:
            ExtractError: it cannot.
        """

    @abstractmethod
    def make(self, source: StreamSource, wanted: Mapping[str, FeatureKey]) -> Iterator[Outcome]:
        """The outcomes of the streams in ``wanted``, which are some or all of those that it gives.

        An error costs those that were not yet yielded.

        Raises:
            Absent: the clip has not got what they are made of.
        """


class PictureStream(Stream[ClipPictures]):
    """Made of the pictures; not of clips that are read as sound alone. Its key has what finds the faces."""

    @classmethod
    def planned(cls, plan: Plan) -> Sequence[PictureStream]:
        return [cls(plan)] if plan.pictures else []


class SoundStream(Stream[ClipSound]):
    """Made of the sound. Its key has how the sound is read."""
