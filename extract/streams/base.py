"""Base classes of streams, which are computed from a clip's pictures or from its sound.

A :class:`PictureStream` or :class:`SoundStream` computes all its output for a clip in one go, and an error in
it does not affect others. Usually the output is one stream of the store; views are several streams, which
share one pass over the frames.

Arrays have time as the first axis, ``[T, ...]``, and come with ``times`` in seconds since the start of the
clip: ``[T]`` float64, the middle of each row; or ``[T, 2]``, start and end, if rows are pieces of the clip
(segments). Stage 2 knows nothing else about how the rows were computed.
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
"""The settings that determine the values of each stream, by stream name, as JSON values."""

OnFrame = Callable[[str, float], None]
"""Called after each frame with the step, ``faces`` or ``features``, and the frame's time in seconds."""


def ignore_frame(step: str, seconds: float) -> None:
    """A callback that does nothing."""


class Absent(Exception):
    """A clip lacks the input of a stream, which is no failure; the message says what is missing."""


@dataclass
class ClipPictures:
    """A clip's pictures, with the main face found in them.

    Attributes:
        media: the clip's file.
        faces: the face track, as returned by :func:`.track.face_arrays`.
        kept: the frames, which can be read repeatedly.
        spool: folder for arrays too long for memory.
        on_frame: callback after each frame.
        changes: for a stored face track, the changes to the pictures that it was found in
            (:attr:`.decode.media.Media.changes`); None if it was found in these pictures.
    """

    media: Media
    faces: Mapping[str, np.ndarray]
    kept: Iterable[Frame]
    spool: Path
    on_frame: OnFrame
    changes: Sequence[str] | None = None

    def frames(self) -> Iterator[tuple[Frame, np.ndarray]]:
        """Yield each frame, and the transform ``[2, 3]`` from it to the aligned face.

        Raises:
            ClipError: the face was found in different pictures; raised after the last frame.
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
            changes = ", ".join(self.media.changes) or "changed"
            raise ClipError(
                f"has a face track of pictures that were not {changes}, stored by an earlier version; "
                "remove the clip with avemo store remove, and extract it again"
            )


@dataclass
class ClipSound:
    """A clip's sound, mono at 16 kHz.

    Attributes:
        samples: ``[N]`` float32, N ≥ 1; a memory map if long.
        info: how unusual sound was handled, for the store.
        spool: folder for arrays too long for memory.
        note: callback for remarks to the user about the clip.
    """

    samples: np.ndarray
    info: Mapping[str, Any]
    spool: Path
    note: Callable[[str], None]

    def blocks(self) -> Iterator[np.ndarray]:
        """Yield the samples in blocks that fit into memory."""
        for start in range(0, len(self.samples), SAMPLES_AT_ONCE):
            step()
            yield np.asarray(self.samples[start : start + SAMPLES_AT_ONCE])


StreamSource = TypeVar("StreamSource", ClipPictures, ClipSound)


class Stream(ABC, Generic[StreamSource]):
    """Streams computed from a clip in one go; subclass :class:`PictureStream` or :class:`SoundStream`."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan

    @classmethod
    def planned(cls, plan: Plan) -> Sequence[Stream[StreamSource]]:
        """Return the streams of this kind that ``plan`` asks for; by default one, whatever the plan."""
        return [cls(plan)]

    @abstractmethod
    def settings(self, others: Settings) -> Settings:
        """Return the names of its streams, with the settings that determine their values.

        How clips are read is not among these settings.

        Args:
            others: settings of all streams before it.

        Raises:
            ExtractError: the plan names something that cannot be used.
        """

    def load(self) -> None:
        """Load what :meth:`make` needs, so that errors appear before the first clip; by default nothing.

        Raises:
            ExtractError: something cannot be used.
        """

    @abstractmethod
    def make(self, source: StreamSource, wanted: Mapping[str, FeatureKey]) -> Iterator[Outcome]:
        """Yield the outcomes of the streams in ``wanted``, which are some or all of its streams.

        An error loses only the outcomes not yet yielded.

        Raises:
            Absent: the clip lacks their input.
        """


class PictureStream(Stream[ClipPictures]):
    """Computed from pictures; left out if only sound is read. Its key includes the settings of ``faces``."""

    @classmethod
    def planned(cls, plan: Plan) -> Sequence[PictureStream]:
        return [cls(plan)] if plan.pictures else []


class SoundStream(Stream[ClipSound]):
    """Computed from sound. Its key includes how the sound is read."""
