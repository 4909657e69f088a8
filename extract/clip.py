"""Extracts one clip, from its file to the outcomes of all requested streams. Runs in a worker process."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from itertools import chain
from pathlib import Path

import cv2
import numpy as np

from ..cache.clips import Clip
from ..cache.keys import FeatureKey
from ..cache.rows import Source
from ..cache.writer import Outcome
from .decode.media import Media
from .device_errors import is_device_error
from .digest import sha256_of
from .errors import ClipError, DeviceError, ExtractError
from .networks import use_threads
from .plan import Plan
from .progress import OnProgress, reported
from .spool import discard, gathered
from .stopwatch import DECODE, OPEN, SOUND, Spent, Stopwatch, stage, stage_of
from .streams.base import (
    Absent,
    ClipPictures,
    ClipSound,
    OnFrame,
    PictureStream,
    SoundStream,
    Stream,
    StreamSource,
)
from .streams.faces import find_faces, no_face_note
from .streams.registry import keys_of, planned


@dataclass(frozen=True, slots=True)  # slots: a job that is sent must not keep a dict
class ClipJob:
    """A clip with its missing streams.

    Attributes:
        clip: the clip.
        keys: stream → key, for each stream to extract.
        faces: the stored face track, if there is one, so that no frame is searched twice.
        changes: modifications to the pictures in which the stored track was found
            (:attr:`.decode.media.Media.changes`).
    """

    clip: Clip
    keys: Mapping[str, FeatureKey]
    faces: Mapping[str, np.ndarray] | None = None
    changes: Sequence[str] = ()


@dataclass
class ClipResult:
    """The result of a job.

    Attributes:
        job: the job.
        source: the clip's file, or None if it cannot be read.
        streams: stream → outcome.
        notes: remarks for the user on a clip that did not fail.
        warnings: problems met in decoding.
        stages: time spent in each stage (:mod:`.stopwatch`).
    """

    job: ClipJob
    source: Source | None = None
    streams: Mapping[str, Outcome] = field(default_factory=dict)
    notes: Sequence[str] = ()
    warnings: Sequence[str] = ()
    stages: Mapping[str, Spent] = field(default_factory=dict)

    @property
    def failure(self) -> str:
        """Why the clip failed, or the empty string. If only some streams failed, the reason names them."""
        streams_by_reason: dict[str, list[str]] = {}
        for stream, outcome in self.streams.items():
            if outcome.status == "failed":
                streams_by_reason.setdefault(outcome.reason, []).append(stream)
        if sum(map(len, streams_by_reason.values())) == len(self.streams):
            return "; ".join(streams_by_reason)
        return "; ".join(
            f"{reason} (no {', '.join(streams)})" for reason, streams in streams_by_reason.items()
        )


def failed(job: ClipJob, stage: str, reason: str, source: Source | None = None) -> ClipResult:
    """Return the result of a clip that failed as a whole."""
    return ClipResult(
        job, source, {name: _failed_outcome(key, stage, reason) for name, key in job.keys.items()}
    )


def extract_clip(
    plan: Plan, job: ClipJob, spool: Path, threads: int = 1, on_progress: OnProgress | None = None
) -> ClipResult:
    """Extract every stream of ``job``. An unusable clip yields a reason, not an error.

    Args:
        plan: settings, the same for all clips of a run.
        job: the clip and its missing streams.
        spool: folder for arrays too long for memory.
        threads: number of threads for the networks in this process.
        on_progress: called as the work progresses.

    Raises:
        DeviceError: the device failed and may be unusable for this process.
        ExtractError: the plan's networks or detector cannot be used.
    """
    use_threads(threads)
    cv2.setNumThreads(threads)
    load_networks(plan)
    require_same_keys(plan, job.keys)
    source, watch = None, Stopwatch()
    with watch.running():
        try:
            with reported(watch, on_progress) as report:
                with stage(OPEN):
                    media = Media(job.clip.path, plan.max_frames)
                    source = read_source(media.path)
                    with suppress(ClipError, OSError, ValueError):  # raised again when the file is read
                        report.length = media.seconds()
                notes: list[str] = []
                streams = _streams(plan, job, media, spool, notes.append, report.on_frame)
            result = ClipResult(job, source, streams, [*notes, *media.notes], media.warnings)
        except Exception as error:
            result = failed(job, watch.stage_of(error), reason_of(error), source)
        _release_memory()
    result.stages = watch.spent
    return result


@cache
def load_networks(plan: Plan) -> None:
    """Load the plan's networks and detector, once per process; its keys alone do not show that they work.

    Raises:
        ExtractError: a network or the detector cannot be used.
    """
    for stream, _ in planned(plan):
        stream.load()


def require_same_keys(plan: Plan, keys: Mapping[str, FeatureKey]) -> None:
    """Check that this process would produce the given keys, which another process made, perhaps hours ago.

    Raises:
        ExtractError: a key differs.
    """
    own = keys_of(plan)
    for name, key in keys.items():
        if name in own and own[name] != key:
            raise ExtractError(
                f"the settings of {name} have changed since the run began "
                f"({'; '.join(key.differences(own[name]))}: then / now); do not change weights files during "
                "a run, and run the same command again"
            )


def read_source(path: Path) -> Source:
    """Return the file's current checksum, size and modification time."""
    stat = path.stat()
    return Source(sha256_of(path), stat.st_size, stat.st_mtime_ns)


def _streams(
    plan: Plan, job: ClipJob, media: Media, spool: Path, note: Callable[[str], None], on_frame: OnFrame
) -> dict[str, Outcome]:
    """Return the outcome of each stream of the job."""
    wanted = [
        (stream, {name: job.keys[name] for name in keys if name in job.keys})
        for stream, keys in planned(plan)
    ]
    wanted = [(stream, keys) for stream, keys in wanted if keys]
    picture_streams = [(stream, keys) for stream, keys in wanted if isinstance(stream, PictureStream)]
    sound_streams = [(stream, keys) for stream, keys in wanted if isinstance(stream, SoundStream)]
    outcomes = _extract_streams(
        picture_streams, lambda: _open_pictures(plan, job, media, spool, note, on_frame)
    )
    with stage(SOUND):
        return {**outcomes, **_extract_streams(sound_streams, lambda: _open_sound(media, spool, note))}


def _extract_streams(
    wanted: Sequence[tuple[Stream[StreamSource], Mapping[str, FeatureKey]]],
    open_source: Callable[[], AbstractContextManager[StreamSource]],
) -> dict[str, Outcome]:
    """Return the outcomes of streams of one source. Each fails alone, but all fail without their source."""
    if not wanted:
        return {}
    outcomes: dict[str, Outcome] = {}
    try:
        with open_source() as source:
            for stream, keys in wanted:
                outcomes.update(_extract_stream(source, stream, keys))
    except Exception as error:
        return {name: _error_outcome(key, error) for _, keys in wanted for name, key in keys.items()}
    return outcomes


def _extract_stream(
    source: StreamSource, stream: Stream[StreamSource], keys: Mapping[str, FeatureKey]
) -> dict[str, Outcome]:
    outcomes: dict[str, Outcome] = {}
    try:
        for outcome in stream.make(source, keys):
            outcomes[outcome.key.stream] = outcome
    except Exception as error:
        outcomes.update(
            (name, _error_outcome(key, error)) for name, key in keys.items() if name not in outcomes
        )
    return outcomes


def _error_outcome(key: FeatureKey, error: Exception) -> Outcome:
    """Return the outcome of a stream that could not be extracted."""
    if isinstance(error, Absent):
        return Outcome(key, "absent", str(error))
    return _failed_outcome(key, stage_of(error), reason_of(error))


def _failed_outcome(key: FeatureKey, stage: str, reason: str) -> Outcome:
    return Outcome(key, "failed", reason, {"stage": stage})


def reason_of(error: Exception) -> str:
    """Describe the error that made a clip or stream fail; an untrusted file may cause any.

    Raises:
        DeviceError: the device failed, not the clip.
    """
    if isinstance(error, DeviceError):
        raise error
    if isinstance(error, (ClipError, OSError)):
        return str(error)
    if isinstance(error, MemoryError):
        return "out of memory; run with fewer --workers"
    if is_device_error(error):
        raise DeviceError(str(error).strip().splitlines()[0]) from error
    return f"{type(error).__name__}: {error}"


@contextmanager
def _open_pictures(
    plan: Plan, job: ClipJob, media: Media, spool: Path, note: Callable[[str], None], on_frame: OnFrame
) -> Iterator[ClipPictures]:
    """Yield the clip's pictures with its face track, found now or stored before."""
    if not media.has_video:
        note("has no video stream; its faces are masked")
        raise Absent("no video stream")
    if job.faces is None:
        with stage(DECODE):
            found = find_faces(plan, media, on_frame)
        pictures = ClipPictures(media, *found, spool, on_frame)
    else:
        pictures = ClipPictures(media, job.faces, media, spool, on_frame, job.changes)
    if not pictures.faces["has_face"].any():
        note(no_face_note(plan, media, len(pictures.faces["times"])))
    yield pictures


@contextmanager
def _open_sound(media: Media, spool: Path, note: Callable[[str], None]) -> Iterator[ClipSound]:
    """Yield the clip's whole sound, which is kept in a file if it is long."""
    blocks = media.sound() if media.has_sound else iter(())
    first = next((block for block in blocks if len(block)), None)
    if first is None:
        note("has no sound; its audio is masked")
        raise Absent("no sound")
    samples = gathered(chain([first], blocks), spool)
    try:
        yield ClipSound(samples, {"sound": list(media.notes)} if media.notes else {}, spool, note)
    finally:
        discard(samples)


def _release_memory() -> None:
    """Return free memory to the system, if the C library is glibc.

    glibc is configured to keep free memory during a clip (see :data:`.crew.KEEP_MEMORY`). If it kept it after
    that too, the memory of a single 8K clip would count against the limit of the worker processes.
    """
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)
