"""Interprets the times of the stages: finds the bottleneck, what to change, and how long a corpus takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...extract import DEFAULT_BACKBONE
from ...extract.devices import torch_devices
from ...extract.networks import face_networks
from ...extract.plan import Plan
from ...extract.precision import IN_INT8, has_fast_bf16
from ...extract.run import usable_cores
from ...extract.stopwatch import DECODE, DETECT, NETWORK, OPEN, REST, SOUND, WARP, WRITE
from ...extract.views import VIEW_SETS
from .measure import Measured, TimedRun

STAGES = (OPEN, DECODE, DETECT, WARP, NETWORK, SOUND, WRITE, REST)
OF_FRAMES = (DETECT, WARP, NETWORK)  # time grows with the frames used; for other stages, with film length
FEWER = 3  # suggested --detect-every
FEW_FRAMES = 16  # suggested --max-frames
LARGE = 0.25  # share of the total time above which changes to a stage are suggested


@dataclass(frozen=True)
class StageTime:
    """Time of a stage in the run with one process.

    Attributes:
        seconds: processor seconds per clip; for a network on a GPU, GPU seconds.
        ms_a_frame: the same in milliseconds per frame; None if no frame was read.
        share: share of the sum of all stages.
    """

    stage: str
    seconds: float
    ms_a_frame: float | None
    share: float


@dataclass(frozen=True)
class Change:
    """A change that would make stage 1 faster; ``saves`` is the share of time saved, None if unknown."""

    option: str
    effect: str
    saves: float | None = None


@dataclass(frozen=True)
class Verdict:
    """The interpretation of measured times.

    Attributes:
        stages: stages that take any time, in processing order.
        wall: the bottleneck, the stage that takes longest.
        slowest: ``cores`` or ``device``, whichever is busy longest.
        bound: seconds the run would take if that were never idle.
        ratio: seconds of the run with all processes, without its start, over ``bound``.
        changes: suggestions to make it faster.
        clip_seconds, clip_frames: mean length of the clips before they were cut.
        seconds_a_clip: estimated time for such a clip in a long run.
        corpus_seconds: estimated time for all clips of the folder, including the start.
        thousand_seconds: estimated time for 1,000 clips, including the start.
        own: share of these times that would remain if nothing else ran on this machine; 1 (unknown) on a
            GPU.
    """

    stages: Sequence[StageTime]
    wall: str
    slowest: str
    bound: float
    ratio: float
    changes: Sequence[Change]
    clip_seconds: float
    clip_frames: float
    seconds_a_clip: float
    corpus_seconds: float
    thousand_seconds: float
    own: float


def judge(measured: Measured, plan: Plan) -> Verdict:
    """Interpret measured times."""
    alone, whole = measured.alone, measured.whole
    on_device = torch_devices(plan.device) != ("cpu",)
    costs = {
        stage: (spent.device or spent.wall) if on_device and stage == NETWORK else spent.busy
        for stage, spent in sorted(alone.spent.items(), key=lambda item: STAGES.index(item[0]))
    }
    total = sum(costs.values())
    shares = {stage: cost / total for stage, cost in costs.items()}
    wall = max((stage for stage in costs if stage != REST), key=lambda stage: costs[stage])
    device = costs.get(NETWORK, 0.0) if on_device else 0.0
    busy = {"cores": (total - device) / usable_cores(), "device": device}
    slowest = max(busy, key=lambda name: busy[name])
    per_second = whole.wall / total * (1 / measured.film)
    per_frame = whole.wall / total * (1 / alone.frames if alone.frames else 0.0)
    clip_seconds = float(np.mean([length.seconds for length in measured.lengths]))
    clip_frames = float(np.mean([length.frames for length in measured.lengths]))
    of_frames = sum(costs.get(stage, 0.0) for stage in OF_FRAMES) if alone.frames else 0.0
    clip = of_frames * per_frame * clip_frames + (total - of_frames) * per_second * clip_seconds
    return Verdict(
        [
            StageTime(stage, cost / alone.clips, _ms(cost, alone), shares[stage])
            for stage, cost in costs.items()
        ],
        wall,
        slowest,
        busy[slowest],
        whole.wall / busy[slowest],
        changes(plan, shares, clip_frames, whole.workers),
        clip_seconds,
        clip_frames,
        clip,
        whole.start + clip * measured.corpus,
        whole.start + clip * 1000,
        1.0 if on_device else min(1.0, _busy(whole) / usable_cores() / whole.wall),
    )


def _ms(cost: float, run: TimedRun) -> float | None:
    return 1000 * cost / run.frames if run.frames else None


def _busy(run: TimedRun) -> float:
    return sum(spent.busy for spent in run.spent.values())


def changes(plan: Plan, shares: dict[str, float], clip_frames: float, workers: int) -> list[Change]:
    """Return changes that would make stage 1 faster, those for the stage with the largest share first."""
    large = sorted((stage for stage in shares if shares[stage] >= LARGE), key=lambda stage: -shares[stage])
    found = [change for stage in large for change in _of_stage(plan, stage, shares)]
    if plan.max_frames is None and clip_frames > FEW_FRAMES:
        saves = sum(shares.get(stage, 0.0) for stage in OF_FRAMES) * (1 - FEW_FRAMES / clip_frames)
        what = f"{FEW_FRAMES} frames of each clip, spread evenly, in place of {clip_frames:.0f}"
        found.append(Change(f"--max-frames {FEW_FRAMES}", what, saves))
    if workers < usable_cores() and torch_devices(plan.device) == ("cpu",):
        found.append(Change("--workers 0", f"a process for each of {usable_cores()} cores"))
    found.append(Change("--part I/N", "several machines, each with a part of the clips"))
    return found


def _of_stage(plan: Plan, stage: str, shares: dict[str, float]) -> list[Change]:
    share, device, found = shares[stage], torch_devices(plan.device)[0], []
    if stage == DETECT:
        if plan.detect_every < FEWER:
            saves = share * (1 - plan.detect_every / FEWER)
            found.append(Change(f"--detect-every {FEWER}", f"look for faces in every {FEWER}rd frame", saves))
        if plan.detector.partition("@")[0] == "dlib":
            found.append(Change("--detector yunet", "a small network; `avemo weights fetch yunet` gets it"))
    elif stage == NETWORK:
        if has_fast_bf16(device) and any(net.precision == "fp32" for net in face_networks(plan)):
            found.append(Change("--precision bf16", "fast on this machine; features change slightly"))
        networks = [name.partition("@")[0] for name in (*plan.backbones, *plan.segment_backbones)]
        if device == "cpu" and plan.precision != "int8" and set(networks) <= set(IN_INT8):
            found.append(Change("--precision int8", "8-bit arithmetic; features change by about 3%"))
        if any(name.partition("@")[0] != DEFAULT_BACKBONE for name in plan.backbones):
            found.append(Change(f"--backbone {DEFAULT_BACKBONE}", "a small network"))
        views = max((len(VIEW_SETS[name]) for name in plan.view_sets), default=1)
        if views > 1:
            saves = (share + shares.get(WARP, 0.0)) * (1 - 1 / views)
            found.append(Change("--tta none", f"one view of each face in place of {views}", saves))
        if device == "cpu":
            found.append(Change("--device cuda", "a GPU for the network"))
    elif stage == DECODE:
        found.append(Change("smaller clips", "clips of fewer pixels are decoded faster"))
    elif stage == WRITE:
        found.append(Change("--store DIR", "a folder on a faster disk"))
    return found
