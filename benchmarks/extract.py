"""How fast stage 1 is, beside the least that it must cost and beside a plain script.

In one run, in turns, on the same frames of the same clips, with ResNet18 (random weights) over the 18
views of the default set:

* avemo: everything, from the files to a closed store, the start of its processes included;
* the floor (floor.py): the bare network on as many views in its best batch, and then the bare detector
  on as many frames, all cores busy;
* the plain script (plain_extract.py), on some of the clips, its time scaled by frames.

Besides wall time it compares processor time, which other work on the machine disturbs less. At the end a
profile of one process says where the time goes.

    python benchmarks/extract.py ../shared/data/java_sed/clips --max-frames 10
"""

from __future__ import annotations

import argparse
import cProfile
import json
import pstats
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import ClassVar

import cv2
import joblib
import numpy as np
import torch
from floor import PATIENT, BareDetector, BareNetwork, Cost
from machine import describe, environment, load

from avemo.cache.clips import Clip
from avemo.cache.store import FeatureStore
from avemo.extract.backbones import get
from avemo.extract.clip import ClipJob, extract_clip
from avemo.extract.decode.media import Media
from avemo.extract.networks import face_networks, views_at_once
from avemo.extract.plan import Plan
from avemo.extract.run import Extraction
from avemo.extract.streams.registry import keys_of
from avemo.extract.views import VIEW_SETS

VIEWS = len(VIEW_SETS["default"])
GOAL_FLOOR, GOAL_PLAIN = 1.25, 2.5


def random_weights(name: str, folder: Path) -> Path:
    torch.manual_seed(0)
    path = folder / "random.pt"
    torch.save(get(name).build().state_dict(), path)
    return path


def spread(clips: Sequence[Path], count: int) -> list[Path]:
    """So many of the clips, spread evenly."""
    return [clips[index] for index in np.linspace(0, len(clips) - 1, min(count, len(clips))).astype(int)]


def processor_seconds() -> float:
    """Of this process and of all that it has waited for."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def timed(work: Callable[[], None]) -> Cost:
    wall, busy = time.perf_counter(), processor_seconds()
    work()
    return Cost(time.perf_counter() - wall, processor_seconds() - busy)


class Pass:
    """avemo over some clips, into a new store each time."""

    def __init__(self, clips: Sequence[Path], plan: Plan, folder: Path) -> None:
        self._clips = [Clip(path.stem, "all", str(path)) for path in clips]
        self._plan = plan
        self._folder = folder

    def cost(self) -> Cost:
        with tempfile.TemporaryDirectory(dir=self._folder) as name:
            return timed(lambda: self._run(Path(name)))

    def frames(self) -> int:
        """How many frames the plan chooses."""
        return sum(len(list(Media(clip.path, self._plan.max_frames).frames())) for clip in self._clips)

    def _run(self, folder: Path) -> None:
        with FeatureStore(folder / "store", create=True) as store:
            extraction = Extraction(self._clips, self._plan, store)
            failures = [result.failure for result in extraction if result.failure]
        if failures:
            raise RuntimeError(f"a clip failed, so the time means nothing: {failures[0]}")


class PlainScript:
    """plain_extract.py over some clips, in a process of its own, with as many threads as suit it."""

    SURROUNDINGS: ClassVar = {
        "torch's own choice of threads": {},
        "torch's own choice of threads, not spinning": PATIENT,
        "one thread": {"OMP_NUM_THREADS": "1"},
    }

    def __init__(self, clips: Sequence[Path], weights: Path, max_frames: int | None) -> None:
        script = Path(__file__).with_name("plain_extract.py")
        self._command = [sys.executable, str(script), str(weights)]
        self._clips = [str(clip) for clip in clips]
        self._limit = [] if max_frames is None else ["--max-frames", str(max_frames)]
        trials = {
            name: self._run(variables, [self._clips[0], "--max-frames", "1"])["wall"]
            for name, variables in self.SURROUNDINGS.items()
        }
        self.threads = min(trials, key=lambda name: trials[name])

    def cost(self, frames: int) -> Cost:
        """Scaled to so many frames; without the start of Python and the loading of the network."""
        result = self._run(self.SURROUNDINGS[self.threads], [*self._clips, *self._limit])
        scale = frames / result["frames"]
        return Cost(result["wall"] * scale, result["busy"] * scale)

    def _run(self, variables: dict[str, str], arguments: list[str]) -> dict[str, float]:
        with environment(**variables):
            done = subprocess.run([*self._command, *arguments], check=True, capture_output=True, text=True)
        result: dict[str, float] = json.loads(done.stdout)
        return result


def grey_frames(clips: Sequence[Path], max_frames: int | None) -> list[np.ndarray]:
    images = (frame.image for path in clips for frame in Media(path, max_frames).frames())
    return [cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) for image in images]


STEPS = {
    "decode": [("media.py", "frames")],
    "detect": [("dlib.py", "__call__")],
    "warp": [("warp.py", "warp")],
    "network": [("backbone.py", "__call__")],
    "sound": [
        ("clip.py", "_sound"),
        ("spectrogram.py", "make"),
        ("logmel.py", "make"),
        ("descriptors.py", "make"),
    ],
    "whole": [("clip.py", "extract_clip")],
}


def profile(clips: Sequence[Path], plan: Plan, folder: Path) -> dict[str, float]:
    """Seconds of each step of one process with one thread, once everything is loaded."""
    jobs = [ClipJob(Clip(path.stem, "all", str(path)), keys_of(plan)) for path in clips]
    extract_clip(plan, jobs[0], folder)
    profiler = cProfile.Profile()
    for job in jobs:
        profiler.runcall(extract_clip, plan, job, folder)
    statistics = pstats.Stats(profiler).stats  # type: ignore[attr-defined]
    return {
        step: sum(
            cumulative
            for (path, _, name), (_, _, _, cumulative, _) in statistics.items()
            if (Path(path).name, name) in functions
        )
        for step, functions in STEPS.items()
    }


def say_profile(clips: Sequence[Path], plan: Plan, folder: Path) -> None:
    seconds = profile(clips, plan, folder)
    whole = seconds.pop("whole")
    seconds["rest"] = whole - sum(seconds.values())
    frames = Pass(clips, plan, folder).frames()
    shares = ", ".join(f"{step} {value / whole:.1%}" for step, value in seconds.items())
    print(f"\none process, {len(clips)} clips, {frames} frames: {shares}")
    print(
        f"  {seconds['decode'] / frames * 1e3:.1f} ms a frame kept to decode, "
        f"{seconds['detect'] / frames * 1e3:.1f} ms to detect; "
        f"{seconds['warp'] / frames / VIEWS * 1e3:.2f} ms a view to warp, "
        f"{seconds['network'] / frames / VIEWS * 1e3:.2f} ms in the network; "
        f"{seconds['sound'] / len(clips) * 1e3:.0f} ms a clip of sound"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="CLIPS")
    parser.add_argument("--clips", type=int, default=24, help="how many, spread over the folder")
    parser.add_argument("--max-frames", type=int, help="a clip; default: all")
    parser.add_argument("--backbone", default="resnet18")
    parser.add_argument("--batch", type=int, help="views at once in avemo; default: its own")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--plain-clips", type=int, default=2, help="how many of them the plain script gets")
    options = parser.parse_args()
    clips = spread(sorted(options.folder.rglob("*.mp4")), options.clips)
    print(describe())
    with tempfile.TemporaryDirectory() as name:
        compare(clips, options, Path(name))


def compare(clips: list[Path], options: argparse.Namespace, folder: Path) -> None:
    weights = random_weights(options.backbone, folder)
    plan = Plan(backbones=(f"{options.backbone}@{weights}",), max_frames=options.max_frames)
    if options.batch:
        plan = replace(plan, batch=options.batch)
    avemo = Pass(clips, plan, folder)
    start = Pass(clips[: joblib.cpu_count()], replace(plan, max_frames=1), folder)
    plain = PlainScript(spread(clips, options.plain_clips), weights, options.max_frames)
    grey = grey_frames(clips, options.max_frames)
    frames, precision = len(grey), face_networks(plan)[0].precision
    print(f"{len(clips)} clips, {frames} frames, {frames * VIEWS} views, {options.backbone} in {precision}")
    costs: dict[str, list[Cost]] = {}
    with (
        BareNetwork(options.backbone, precision, joblib.cpu_count()) as network,
        BareDetector(grey, joblib.cpu_count()) as detector,
    ):
        batch = views_at_once(plan)
        print(f"the bare network runs best with {network.layout}; avemo runs with batch {batch}")
        print(f"the plain script runs best with {plain.threads}", flush=True)
        for number in range(1, options.rounds + 1):
            of_round = {
                "avemo": avemo.cost(),
                "network": network.cost(frames * VIEWS),
                "detector": detector.cost(),
                "start": start.cost(),
                "plain": plain.cost(frames),
            }
            for name, cost in of_round.items():
                costs.setdefault(name, []).append(cost)
            listed = ", ".join(f"{name} {cost}" for name, cost in of_round.items())
            print(f"round {number}: {listed}; load {load()}", flush=True)
    report(costs, frames, options)
    say_profile(clips[:3], plan, folder)


def report(costs: dict[str, list[Cost]], frames: int, options: argparse.Namespace) -> None:
    wall = {name: median(cost.wall for cost in of_name) for name, of_name in costs.items()}
    busy = {name: median(cost.busy for cost in of_name) for name, of_name in costs.items()}
    print(f"\nmedians of {options.rounds} rounds:")
    print(
        f"  avemo {wall['avemo']:.1f} s: {wall['avemo'] / frames * 1e3:.0f} ms a frame, "
        f"{frames * VIEWS / wall['avemo']:.0f} views/s"
    )
    print(
        f"  avemo / floor: {over_floor(wall):.2f} (goal: at most {GOAL_FLOOR}), by processor time "
        f"{over_floor(busy):.2f}"
    )
    print(
        f"  less the {wall['start']:.1f} s of a run of one frame a process, which is the start of processes: "
        f"{over_floor(wall, wall['start']):.2f}, by processor time {over_floor(busy, busy['start']):.2f}"
    )
    print(
        f"  plain / avemo: {wall['plain'] / wall['avemo']:.2f} (goal: at least {GOAL_PLAIN}), by processor "
        f"time {busy['plain'] / busy['avemo']:.2f}; plain ran on {options.plain_clips} of the clips"
    )


def over_floor(seconds: dict[str, float], start: float = 0.0) -> float:
    return (seconds["avemo"] - start) / (seconds["network"] + seconds["detector"])


if __name__ == "__main__":
    main()
