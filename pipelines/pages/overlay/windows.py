"""``avemo-fuse predict`` over time: scores of sliding windows as CSV and JSON, and drawn on the video."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from .... import __version__
from ...cli.console import tell
from ...cli.extraction import Printed
from ...cli.framework import InputError
from ...cli.outputs import refuse_existing
from ...cli.progress import progress_bar, seconds_bar
from ...cli.table import aligned
from ...demo.set import DEMO_MARK
from ...fuse.notes import demo_note
from ...stage_one import into_store
from .timeline import DIGITS, Timeline

if TYPE_CHECKING:
    from ....cache.clips import Clip
    from ....cache.rows import Row
    from ....cache.store import FeatureStore
    from ....extract.plan import Plan
    from ....fusion.evaluation.scores import Scores
    from ....fusion.features.windows import LoadedRuns, LongClip
    from ....fusion.training.runs import Run
    from ...corpora.clips.find import FoundClips
    from .video import Draw

SECONDS, HOP = 3.0, 0.5  # default window length, if no run knows the length of its clips, and default hop
OVERLAY, TIMELINE, FACTS = ".mp4", ".csv", ".json"
EXTRACTION, WINDOWS, DRAWING = "faces and features", "windows", "overlay"


@dataclass(frozen=True)
class WindowOptions:
    """Command-line options; None if not given.

    Attributes:
        out: file for the scores of whole clips.
        overlay, timeline: file for a single video, or folder.
        window: length of a window in seconds.
        hop: seconds between the starts of windows.
        overwrite: whether to replace existing files.
    """

    out: Path
    overlay: Path | None
    timeline: Path | None
    window: float | None
    hop: float | None
    overwrite: bool = False

    def __bool__(self) -> bool:
        """Return whether windows are wanted at all."""
        return bool(self.overlay or self.timeline)


@dataclass
class StepTimes:
    """Time spent on each step, and total duration of the videos, in seconds."""

    video: float = 0.0
    steps: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def measure(self, step: str) -> Iterator[None]:
        """Add the time of a ``with`` block to a step."""
        started = time.perf_counter()
        yield
        self.steps[step] = self.steps.get(step, 0.0) + time.perf_counter() - started

    def table(self) -> str:
        """Return a table of the seconds per step, and per second of video."""
        spent = {**self.steps, "all": sum(self.steps.values())}
        rows = [(step, f"{seconds:.2f}", f"{seconds / self.video:.2f}") for step, seconds in spent.items()]
        return aligned((f"{self.video:.1f} s of video", "seconds", "real time factor"), rows)


def score_over_time(
    runs: Sequence[Run],
    found: FoundClips,
    plan: Plan,
    options: WindowOptions,
    path: Path,
    device: str,
    workers: int,
) -> tuple[Scores, list[Row], int]:
    """Extract ``found`` into the store at ``path``, score windows of each clip and write the wanted files.

    Returns:
        Scores of whole clips, their rows, and the number of failures.

    Raises:
        InputError: the output paths are invalid, or the store has other clips.
        FusionError: the runs do not fit together.
    """
    from ....cache.store import FeatureStore
    from ....fusion.evaluation.scores import joined
    from ....fusion.features.windows import LoadedRuns, LongClip

    targets = {clip.key: _targets(options, clip, found.clips) for clip in found.clips}
    _require_own_store(path, found)
    loaded = LoadedRuns(runs, device)
    window = options.window or max((run.clip_seconds or 0 for run in runs), default=0) or SECONDS
    hop = options.hop or HOP
    mark = DEMO_MARK if any(run.demo for run in runs) else ""
    times, scores, rows, failures = StepTimes(), [], [], 0
    with times.measure(EXTRACTION):
        for each, clips in _plans(plan, found.clips, window):
            failures += into_store(replace(found, clips=clips), each, path, workers, reporter=Printed())
    with FeatureStore(path) as store:
        for row in filter(None, map(store.row, found.clips)):
            rows.append(row)
            with times.measure(WINDOWS):
                recording = LongClip(store, row, loaded.features, plan.max_frames)
                scores.append(loaded.scores([recording.whole]))
                timeline = _timeline(loaded, recording, window, hop)
            if timeline is None:
                click.echo(f"no windows: {row.clip.path}: nothing could be read", err=True)
                continue
            times.video += timeline.seconds
            files = targets[row.clip.key]
            timeline.write_csv(files[TIMELINE])
            timeline.write_json(files[FACTS], _facts(runs, store, row, plan.max_frames, window, hop))
            tell(
                [
                    ("windows", f"{timeline.summary()}; {window:g} s, every {hop:g} s"),
                    ("wrote", f"{files[TIMELINE]}, {files[FACTS]}"),
                ]
            )
            if OVERLAY in files:
                with times.measure(DRAWING):
                    failures += _overlay(store, row, timeline, files[OVERLAY], mark)
    if times.video:
        click.echo(times.table())
    return joined(scores), rows, failures


def _targets(options: WindowOptions, clip: Clip, clips: Sequence[Clip]) -> dict[str, Path]:
    """Return the output files of a clip by suffix.

    Raises:
        InputError: an output path is invalid.
    """
    from ....fusion.files import as_file_name

    source = Path(clip.path)
    splits = {each.split for each in clips}
    name = source.stem if len(clips) == 1 else as_file_name(str(clip) if len(splits) > 1 else clip.id)
    targets: dict[str, Path] = {}
    for option, path, suffix in (
        ("--overlay", options.overlay, OVERLAY),
        ("--timeline", options.timeline, TIMELINE),
    ):
        if path is None:
            continue
        is_file = path.suffix == suffix and not path.is_dir()
        if path.suffix and not is_file and not path.is_dir():
            raise InputError(f"{option} {path}: expected a file ending in {suffix}, or a folder")
        if is_file and len(clips) > 1:
            raise InputError(f"{option} {path} is one file, and there are {len(clips)} clips; name a folder")
        targets[suffix] = path if is_file else path / f"{name}{suffix}"
    targets.setdefault(TIMELINE, next(iter(targets.values())).with_suffix(TIMELINE))
    targets[FACTS] = targets[TIMELINE].with_suffix(FACTS)
    for target in targets.values():
        if target.absolute() == options.out.absolute():
            raise InputError(
                f"{target} is also the --out file, for the scores of whole clips; name another file"
            )
        if target.exists() and source.exists() and target.samefile(source):
            raise InputError(f"{target} is the video itself; name another file to write")
    refuse_existing(targets.values(), options.overwrite)
    return targets


def _require_own_store(path: Path, found: FoundClips) -> None:
    """Check that the store for the features has no other clips.

    Raises:
        InputError: it has some; features for windows have other settings and must not mix with theirs.
    """
    from ....cache.store import FeatureStore

    if not path.exists():
        return
    keys = {clip.key for clip in found.clips}
    with FeatureStore(path) as store:
        others = [row.clip for row in store.rows if row.clip.key not in keys]
    if others:
        raise InputError(
            f"{path} holds other clips ({others[0]}), and windows need features with settings of their own; "
            "name a separate store for these clips with --store, or none"
        )


def _plans(plan: Plan, clips: Sequence[Clip], window: float) -> list[tuple[Plan, list[Clip]]]:
    """Group the clips by extraction plan.

    The main face is chosen within a window's length around each frame. With ``max_frames``, each window
    should have that many frames, so a clip gets a multiple of them. The multiple is odd, so that the frames
    of the whole clip are among them.
    """
    from ....extract.decode.media import Media
    from ....extract.errors import ClipError

    plan = replace(plan, face_seconds=window)
    if plan.max_frames is None:
        return [(plan, list(clips))]
    groups: dict[int, list[Clip]] = {}
    for clip in clips:
        try:
            windows = max(1, math.ceil(Media(clip.path).seconds() / window))
        except ClipError:
            windows = 1  # extraction reports the error
        groups.setdefault(windows + 1 - windows % 2, []).append(clip)
    return [(replace(plan, max_frames=plan.max_frames * times), group) for times, group in groups.items()]


def _timeline(loaded: LoadedRuns, recording: LongClip, window: float, hop: float) -> Timeline | None:
    """Score the windows of a recording; None if it is empty."""
    from ....fusion.features.windows import window_spans

    if recording.seconds <= 0:
        return None
    spans = window_spans(recording.seconds, window, hop)
    parts = recording.parts(spans)
    batches = []
    with progress_bar(total=len(parts), unit="window", desc="windows", leave=False) as bar:
        for scores in loaded.over_time(parts):
            batches.append(scores)
            bar.update(len(scores))
    has_face, has_sound = (np.array(list(map(has, parts))) for has in (recording.seen, recording.heard))
    return Timeline(loaded.classes, recording.seconds, spans, np.concatenate(batches), has_face, has_sound)


def _facts(
    runs: Sequence[Run], store: FeatureStore, row: Row, max_frames: int | None, window: float, hop: float
) -> dict[str, Any]:
    """Return the entries of the JSON file that precede the windows."""
    streams = {stream for run in runs for stream in run.keys}
    used = {"faces", *streams} & row.entries.keys()
    return {
        "avemo": __version__,
        "video": row.clip.path,
        "runs": [str(run.path) for run in runs],
        "note": demo_note([row]),
        "window": window,
        "hop": hop,
        "max_frames": max_frames,
        "features": sorted({feature.name for run in runs for feature in run.features.values()}),
        "extracted": {stream: dict(row.entries[stream].key.settings) for stream in sorted(used)},
        "faces": _faces(store, row),
    }


def _faces(store: FeatureStore, row: Row) -> list[dict[str, Any]]:
    """Return the face box of each frame of the track, ``x0 y0 x1 y1`` in pixels of the upright picture."""
    if not row.has("faces"):
        return []
    faces = store.read(row, "faces", ["times", "box", "has_face"])
    times, boxes = np.round(faces["times"], DIGITS).tolist(), np.round(faces["box"].astype(float), 2).tolist()
    return [
        {"time": at, "box": box if found else None}
        for at, box, found in zip(times, boxes, faces["has_face"], strict=True)
    ]


def _overlay(store: FeatureStore, row: Row, timeline: Timeline, target: Path, mark: str) -> int:
    """Write the overlay of a clip; return 1 if it cannot be made, else 0."""
    from ....extract.errors import ClipError
    from .video import write_overlay

    try:
        if not row.has("faces"):
            raise ClipError("it has no pictures")
        with seconds_bar(DRAWING, timeline.seconds) as on_frame:
            film = write_overlay(Path(row.clip.path), target, _drawing(store, row, timeline, mark), on_frame)
    except ClipError as error:
        click.echo(f"no overlay: {row.clip.path}: {error}", err=True)
        return 1
    for problem in film.problems:
        click.echo(f"damaged: {row.clip.path}: {problem}; what could be read is shown", err=True)
    tell([("wrote", f"{target}: {film.frames} frames ({film.encoder}), {film.sound}")])
    return 0


def _drawing(store: FeatureStore, row: Row, timeline: Timeline, mark: str) -> Draw:
    """Return the function that draws a clip's frames, each with the window whose middle is nearest."""
    from ....fusion.features.windows import nearest_window
    from .boxes import Boxes
    from .picture import Canvas

    boxes = Boxes(store.read(row, "faces", ["times", "box"]))
    canvas = Canvas(
        timeline.classes,
        timeline.values,
        timeline.notes(),
        timeline.has_face,
        timeline.has_sound,
        timeline.seconds,
        partial(nearest_window, timeline.spans),
        mark,
    )
    return lambda frame: canvas(frame.image, boxes.at(frame.time), frame.time)
