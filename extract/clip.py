"""One clip, from its file to the outcomes of all streams asked for. Runs in a worker process."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from ..cache.clips import Clip
from ..cache.keys import FeatureKey
from ..cache.rows import Source
from . import sound
from .align import CHIP_SIZE, compose, window_transform
from .backbones import Backbone
from .decode.media import Frame, Media
from .descriptors import ARRAYS, descriptor_blocks
from .detectors import load_detector
from .device_errors import is_device_error
from .digest import sha256_of
from .errors import ClipError, DeviceError
from .plan import DESCRIPTORS, FACES, LOG_MEL, SEGMENTS, SPECTROGRAM, Plan, segment_stream
from .segments import cut_into_segments, segment_vectors
from .spool import OnDisk, Spool, gathered
from .track import Tracker, face_arrays
from .views import VIEW_SETS
from .warp import warp

FRAME_BYTES = 128 << 20
SAMPLES_AT_ONCE = 1 << 20

OnFrame = Callable[[str, float], None]
"""Is told after each frame what is being made, ``faces`` or ``features``, and the frame's time in seconds."""

OnProgress = Callable[[str, float, float], None]
"""As :data:`OnFrame`, and is told the clip's length in seconds, too."""


def unwatched(step: str, seconds: float) -> None:
    """A callback that does nothing."""


@dataclass(frozen=True)
class Task:
    """A clip with the streams that are still to be made of it.

    ``faces`` holds the stored face track where that is done already, so that no frame is searched twice, and
    ``changes`` what was done to the pictures that it was found in (:attr:`.decode.media.Media.changes`).
    """

    clip: Clip
    keys: Mapping[str, FeatureKey]
    faces: Mapping[str, np.ndarray] | None = None
    changes: Sequence[str] = ()


@dataclass
class Made:
    """The outcome of one stream, as it travels from the worker; see :class:`avemo.cache.writer.Outcome`."""

    status: str = "ok"
    reason: str = ""
    info: dict[str, Any] = field(default_factory=dict)
    arrays: dict[str, np.ndarray | OnDisk] = field(default_factory=dict)


@dataclass
class Result:
    """All that became of a task, ``notes`` being what the user should know of a clip that did not fail."""

    task: Task
    source: Source | None = None
    streams: dict[str, Made] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def failure(self) -> str:
        """Why the clip failed, or the empty string; where a part of it failed, which streams that cost."""
        costs: dict[str, list[str]] = {}
        for stream, made in self.streams.items():
            if made.status == "failed":
                costs.setdefault(made.reason, []).append(stream)
        if sum(map(len, costs.values())) == len(self.streams):
            return "; ".join(costs)
        return "; ".join(f"{reason} (no {', '.join(streams)})" for reason, streams in costs.items())


def failed(task: Task, reason: str, source: Source | None = None) -> Result:
    """The result of a clip of which nothing can be made."""
    return Result(task, source, {stream: Made("failed", reason) for stream in task.keys})


def extract_clip(
    plan: Plan, task: Task, spool: Path, threads: int = 1, on_progress: OnProgress | None = None
) -> Result:
    """Make every stream that ``task`` asks for; a clip that cannot be used gives a reason, never an error.

    Raises :class:`DeviceError` if the device fails, which may spoil it for this process.

    Args:
        plan: settings, the same for all clips of a run.
        task: the clip.
        spool: folder for arrays too long for memory.
        threads: of this process, for the networks.
        on_progress: called as the work goes on.
    """
    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)
    started = time.perf_counter()
    result = Result(task)
    with _cost(result, task.keys):
        media = Media(task.clip.path, plan.max_frames)
        result.source = read_source(media.path)
        on_frame = _with_length(on_progress, media)
        _visual(plan, task, media, spool, result, on_frame)
        _sound(plan, task, media, spool, result)
        result.warnings = media.warnings
        result.notes += media.notes
    _release_memory()
    result.seconds = time.perf_counter() - started
    return result


def _release_memory() -> None:
    """Give what is free back to the system, where the C library is glibc.

    It is told to keep free memory while a clip lasts (see :data:`.run.KEEP_MEMORY`). Kept for good, that of
    one clip in 8K looks like a leak to the pool of processes, which then stops the process.
    """
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)


@contextmanager
def _cost(result: Result, streams: Iterable[str]) -> Iterator[None]:
    """An error in this block fails those of ``streams`` that are not made yet, and nothing else.

    Raises :class:`DeviceError` if the device fails.
    """
    try:
        yield
    except DeviceError:
        raise
    except (ClipError, OSError) as error:
        reason = str(error)
    except MemoryError:
        reason = "out of memory; run with fewer --workers"
    except Exception as error:  # a stranger's file may break any library in any way: it costs one clip
        if is_device_error(error):
            raise DeviceError(str(error).strip().splitlines()[0]) from error
        reason = f"{type(error).__name__}: {error}"
    else:
        return
    for stream in streams:
        result.streams.setdefault(stream, Made("failed", reason))


def _with_length(on_progress: OnProgress | None, media: Media) -> OnFrame:
    if on_progress is None:
        return unwatched
    length = media.seconds()
    return lambda step, seconds: on_progress(step, seconds, length)


def read_source(path: Path) -> Source:
    """What the file is now."""
    stat = path.stat()
    return Source(sha256_of(path), stat.st_size, stat.st_mtime_ns)


def _visual(plan: Plan, task: Task, media: Media, spool: Path, result: Result, on_frame: OnFrame) -> None:
    networks = [
        (network, [name for name in plan.view_sets if f"{network.label}/{name}" in task.keys])
        for network in plan.networks()
    ]
    networks = [(network, names) for network, names in networks if names]
    streams = [f"{network.label}/{name}" for network, names in networks for name in names]
    if FACES in task.keys:
        streams.append(FACES)
    if not streams:
        return
    if not media.has_video:
        result.notes.append("has no video stream; its faces are masked")
        result.streams.update({stream: Made("absent", "no video stream") for stream in streams})
        return
    with _cost(result, streams):
        faces: Mapping[str, np.ndarray]
        frames: Iterable[Frame]
        if task.faces is None:
            faces, frames = find_faces(plan, media, on_frame)
        else:
            faces, frames = task.faces, media.frames()
        if not faces["has_face"].any():
            seen = f"has no face in any of {len(faces['times'])} frames"
            result.notes.append(f"{seen}{_too_small(plan, media)}; whole frames are used")
        if FACES in task.keys:
            info: dict[str, Any] = {"frames": len(faces["times"]), "faces": int(faces["has_face"].sum())}
            if media.changes:
                info["pictures"] = media.changes
            result.streams[FACES] = Made(info=info, arrays=dict(faces))
        if networks:
            made = _features(plan, networks, faces["transform"], frames, spool, on_frame)
            if task.faces is not None and list(task.changes) != media.changes:
                told = ", ".join(media.changes) or "changed"
                raise ClipError(
                    f"has a face track of pictures that were not {told}, as an earlier version read them; "
                    "remove the clip by avemo store remove, and extract it again"
                )
            result.streams.update(made)


def _too_small(plan: Plan, media: Media) -> str:
    """What to add where no face was found in pictures that the detector saw only shrunk, else nothing."""
    detector = load_detector(plan.detector)
    side, smallest = getattr(detector, "max_side", 0), getattr(detector, "smallest", 0)
    shrunk = max(media.size) / side if side and smallest else 0.0
    if shrunk <= 2:
        return ""
    width, height = media.size
    return f" of {width} × {height} pixels, where faces narrower than {shrunk * smallest:.0f} are not found"


def find_faces(
    plan: Plan, media: Media, on_frame: OnFrame = unwatched
) -> tuple[dict[str, np.ndarray], Iterable[Frame]]:
    """The clip's main face, and its frames once more: kept where they fit, else decoded again.

    The whole clip must be seen before it is known whose track is the main one.
    """
    detector = load_detector(plan.detector)
    tracker = Tracker()
    times: list[float] = []
    sizes: list[tuple[int, int]] = []
    kept: list[Frame] | None = []
    kept_bytes = 0
    for number, frame in enumerate(media.frames()):
        tracker.add(number, frame.time, detector(frame.image))
        times.append(frame.time)
        sizes.append((frame.image.shape[0], frame.image.shape[1]))
        kept_bytes += frame.image.nbytes
        if kept_bytes > FRAME_BYTES:
            kept = None
        if kept is not None:
            kept.append(frame)
        on_frame("faces", frame.time)
    if not times:
        raise ClipError("has a video stream, but no frame of it can be decoded; replace the file")
    around = plan.face_seconds
    track = tracker.main() if around is None else tracker.main_around(times, around)
    faces = face_arrays(times, track, sizes, detector.layout)
    return faces, media.frames() if kept is None else kept


def _features(
    plan: Plan,
    networks: list[tuple[Backbone, list[str]]],
    transforms: np.ndarray,
    frames: Iterable[Frame],
    spool: Path,
    on_frame: OnFrame,
) -> dict[str, Made]:
    """The statistics of each network over each view set, frame by frame in batches."""
    streams = [_ViewStatistics(plan, network, names, spool) for network, names in networks]
    count = 0
    for frame, transform in zip(frames, transforms, strict=False):
        count += 1
        for stream in streams:
            stream.add(frame.image, transform)
        on_frame("features", frame.time)
    if count != len(transforms):
        raise ClipError(
            f"gave {len(transforms)} frames at first and {count} when read again; replace the file"
        )
    return {name: made for stream in streams for name, made in stream.finish().items()}


class _ViewStatistics:
    """Warps views, runs them through one network in batches, and reduces them to statistics.

    View sets that are asked for together share the views that they have in common.
    """

    def __init__(self, plan: Plan, network: Backbone, names: list[str], spool: Path) -> None:
        self._network = network
        self._device = torch.device(plan.torch_device)
        self._size = network.spec.input_size
        self._batch = plan.views_at_once
        self._sets = [VIEW_SETS[name] for name in names]
        every = np.concatenate([views.matrices(CHIP_SIZE) for views in self._sets])
        unique, index = np.unique(every, axis=0, return_inverse=True)
        self._index = np.split(index.reshape(-1), np.cumsum([len(views) for views in self._sets])[:-1])
        framed = window_transform(network.spec.window, CHIP_SIZE, self._size)
        self._matrices = compose(framed, unique)
        self._views: list[torch.Tensor] = []
        self._spools = {
            views.name: {name: Spool(spool) for name in statistics_of(len(views))} for views in self._sets
        }

    def add(self, image: np.ndarray, transform: np.ndarray) -> None:
        self._views.append(warp(image, compose(self._matrices, transform), self._size, self._device))
        if len(self._views) * len(self._matrices) >= self._batch:
            self._run()

    def finish(self) -> dict[str, Made]:
        if self._views:
            self._run()
        return {
            f"{self._network.label}/{name}": Made(arrays={key: s.finish() for key, s in spools.items()})
            for name, spools in self._spools.items()
        }

    def _run(self) -> None:
        features = self._network(torch.cat(self._views))
        features = features.reshape(len(self._views), len(self._matrices), -1)
        self._views = []
        for views, index in zip(self._sets, self._index, strict=True):
            of_set = features[:, index]
            values = {"basic": of_set[:, views.identity]}
            if len(views) > 1:
                values["mean"] = of_set.mean(1)
                values["std"] = of_set.std(1, unbiased=False)
            for name, value in values.items():
                self._spools[views.name][name].append(value.numpy())


def statistics_of(views: int) -> tuple[str, ...]:
    """Which statistics a view set of so many views has: a single view has no spread."""
    return ("basic", "mean", "std") if views > 1 else ("basic",)


def _sound(plan: Plan, task: Task, media: Media, spool: Path, result: Result) -> None:
    networks = [network for network in plan.audio_networks() if network.label in task.keys]
    streams = [name for name in (*_SPECTRA, DESCRIPTORS) if name in task.keys]
    streams += [network.label for network in networks]
    segments = [name for name in plan.segment_streams() if name in task.keys]
    if not (streams or segments):
        return
    with _cost(result, [*streams, *segments]):
        blocks = media.sound() if media.has_sound else iter(())
        first = next((block for block in blocks if len(block)), None)
        if first is None:
            result.notes.append("has no sound; its audio is masked")
            result.streams.update({stream: Made("absent", "no sound") for stream in [*streams, *segments]})
            return
        samples = gathered(chain([first], blocks), spool)
        info = {"sound": list(media.notes)} if media.notes else {}
        for stream, transform in _SPECTRA.items():
            if stream in task.keys:
                with _cost(result, [stream]):
                    spectrum = gathered(transform(_pieces(samples)), spool)
                    result.streams[stream] = Made(info=info, arrays={stream: spectrum})
        if DESCRIPTORS in task.keys:
            with _cost(result, [DESCRIPTORS]):
                result.streams[DESCRIPTORS] = Made(arrays=_described(samples, spool))
        for network in networks:
            with _cost(result, [network.label]):
                spectrum = np.concatenate(list(_SPECTRA[network.reads](_pieces(samples))))
                vectors, times = network(np.moveaxis(spectrum, 0, -1))
                result.streams[network.label] = Made(
                    arrays={"vectors": vectors.numpy(), "times": times.numpy()}
                )
        if segments:
            with _cost(result, segments):
                _segments(plan, task, samples, spool, result)


_SPECTRA = {SPECTROGRAM: sound.spectrogram_blocks, LOG_MEL: sound.log_mel_blocks}


def _segments(plan: Plan, task: Task, samples: np.ndarray | OnDisk, spool: Path, result: Result) -> None:
    length = samples.shape[0]
    cut = cut_into_segments(lambda: _pieces(samples), length, plan.voice(), spool)
    if cut.speech is None:
        result.notes.append("has no speech that was found; its segments are of the whole clip")
    if SEGMENTS in task.keys:
        info = {"segments": len(cut.times), "speech": None if cut.speech is None else list(cut.speech)}
        result.streams[SEGMENTS] = Made(info=info, arrays={"image": cut.images, "times": cut.times})
    images = cut.images.open() if isinstance(cut.images, OnDisk) else cut.images
    for network in plan.segment_networks():
        stream = segment_stream(network)
        if stream in task.keys:
            vectors = gathered(segment_vectors(network, images, plan.views_at_once), spool)
            result.streams[stream] = Made(arrays={"vectors": vectors, "times": cut.times})


def _described(samples: np.ndarray | OnDisk, spool: Path) -> dict[str, np.ndarray | OnDisk]:
    grown = {name: Spool(spool) for name in ARRAYS}
    for block in descriptor_blocks(_pieces(samples)):
        for name, values in block.items():
            grown[name].append(values)
    return {name: array.finish() for name, array in grown.items()}


def _pieces(samples: np.ndarray | OnDisk) -> Iterator[np.ndarray]:
    array = samples.open() if isinstance(samples, OnDisk) else samples
    for start in range(0, len(array), SAMPLES_AT_ONCE):
        yield np.asarray(array[start : start + SAMPLES_AT_ONCE])
