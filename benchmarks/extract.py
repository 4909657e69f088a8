"""Speed of ``avemo-extract``, compared with its minimum cost, a plain script, and an older avemo.

Each row is a ratio of two things run in turns on the same frames of the same clips. avemo is the command,
from the start of Python to a closed store, over the 18 views of the default set.

* ``floor``: avemo with ResNet18 ÷ the bare network on as many views in its best batch + the bare detector on
  as many frames (floor.py), with all cores busy.
* ``plain``: the plain script (plain_extract.py, ResNet18 in fp32), on some of the clips and scaled by frames,
  with its best number of threads, ÷ avemo with ResNet18 in the precision that it selects on this machine.
* ``laptop``: the same with avemo in fp32, and torch limited to AVX2 on both sides.
* ``default``: avemo with ``--backbone ferresnet``, the default until 2026-11-28, ÷ avemo with its defaults.
  Its detector is YuNet if AVEMO_WEIGHTS has it, and else dlib, as in the next row.
* ``before``: an older avemo with its own defaults ÷ avemo with its defaults. Needs ``--before COMMAND``, the
  ``avemo-extract`` of an older checkout.

Beside wall time it compares processor time, which other work on the machine affects less. ResNet18 has
random weights. Results are kept in ``--out``: if stopped, the same command continues.

    python benchmarks/extract.py ../shared/data/java_sed/clips
    python benchmarks/extract.py ../shared/data/java_sed/clips --row floor --clips 3 --max-frames 4 --rounds 1
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any, ClassVar

import cv2
import joblib
import numpy as np
import torch
from floor import PATIENT, BareDetector, BareNetwork, Cost
from machine import describe, environment, load

from avemo.extract.backbones import get
from avemo.extract.decode.media import Media
from avemo.extract.precision import resolve_precision
from avemo.extract.views import VIEW_SETS
from avemo.pipelines.cli.table import aligned

VIEWS = len(VIEW_SETS["default"])
NETWORK = "resnet18"
AVX2 = {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"}
GOALS = {
    "floor": "at most 1.10",
    "plain": "at least 2.5",
    "laptop": "at least 2",
    "default": "at least 3",
    "before": "at least 3",
}

Costs = dict[str, list[Cost]]


def random_weights(folder: Path) -> Path:
    torch.manual_seed(0)
    path = folder / "random.pt"
    torch.save(get(NETWORK).build().state_dict(), path)
    return path


def spread(clips: Sequence[Path], count: int) -> list[Path]:
    """Return ``count`` of the clips, spread evenly."""
    return [clips[index] for index in np.linspace(0, len(clips) - 1, min(count, len(clips))).astype(int)]


def processor_seconds() -> float:
    """Return the processor time of this process and of all children that it has waited for."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def timed(work: Callable[[], object]) -> Cost:
    wall, busy = time.perf_counter(), processor_seconds()
    work()
    return Cost(time.perf_counter() - wall, processor_seconds() - busy)


class Command:
    """Runs ``avemo-extract`` over some clips, into a new store each time."""

    AVEMO = (str(Path(sys.executable).with_name("avemo-extract")),)

    def __init__(self, clips: Sequence[Path], max_frames: int | None, folder: Path) -> None:
        self._folder = folder
        self._manifest = folder / "clips.csv"
        self._manifest.write_text("\n".join(["path", *(str(clip.resolve()) for clip in clips)]) + "\n")
        self._options = [] if max_frames is None else ["--max-frames", str(max_frames)]

    def cost(self, *options: str, command: Sequence[str] = AVEMO) -> Cost:
        """Time one run.

        Raises:
            CalledProcessError: a clip failed, so the time would mean nothing.
        """
        with tempfile.TemporaryDirectory(dir=self._folder) as store:
            words = [*command, str(self._folder), "--manifest", str(self._manifest), "--store", store]
            words += ["--tta", "meanstd", *self._options, *options]
            return timed(lambda: subprocess.run(words, check=True, capture_output=True))


class PlainScript:
    """Runs plain_extract.py over some clips, in a process of its own, with its best number of threads."""

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
        """Time one run, scaled to ``frames``, without the start of Python and the loading of the network."""
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


class Rows:
    """The rows of the table; ``measure`` times both sides of a row in alternating rounds."""

    def __init__(self, clips: list[Path], options: argparse.Namespace, folder: Path) -> None:
        self._options = options
        self._avemo = Command(clips, options.max_frames, folder)
        self._plain_clips = spread(clips, options.plain_clips)
        self._weights = random_weights(folder)
        self._network = ("--backbone", f"{NETWORK}@{self._weights}", "--detector", "dlib")
        self._grey = grey_frames(clips, options.max_frames)
        self.frames = len(self._grey)

    def measure(self, row: str) -> Costs:
        with ExitStack() as open_until_done:
            sides = getattr(self, f"_{row}")(open_until_done)
            costs: Costs = {name: [] for name in sides}
            for number in range(1, self._options.rounds + 1):
                for name, cost in sides.items():
                    costs[name].append(cost())
                told = ", ".join(f"{name} {of_name[-1]}" for name, of_name in costs.items())
                print(f"{row}, round {number}: {told}; load {load()}", file=sys.stderr, flush=True)
        return costs

    def _floor(self, until_done: ExitStack) -> dict[str, Callable[[], Cost]]:
        cores = joblib.cpu_count()
        network = until_done.enter_context(BareNetwork(NETWORK, resolve_precision("auto", "cpu"), cores))
        print(f"the bare network runs best with {network.layout}", file=sys.stderr)
        detector = until_done.enter_context(BareDetector(self._grey, cores))

        def floor() -> Cost:
            first, second = network.cost(self.frames * VIEWS), detector.cost()
            return Cost(first.wall + second.wall, first.busy + second.busy)

        return {"avemo": lambda: self._avemo.cost(*self._network), "floor": floor}

    def _plain(self, until_done: ExitStack, *precision: str) -> dict[str, Callable[[], Cost]]:
        plain = PlainScript(self._plain_clips, self._weights, self._options.max_frames)
        print(f"the plain script runs best with {plain.threads}", file=sys.stderr)
        return {
            "plain": lambda: plain.cost(self.frames),
            "avemo": lambda: self._avemo.cost(*self._network, *precision),
        }

    def _laptop(self, until_done: ExitStack) -> dict[str, Callable[[], Cost]]:
        until_done.enter_context(environment(**AVX2))
        return self._plain(until_done, "--precision", "fp32")

    def _default(self, until_done: ExitStack) -> dict[str, Callable[[], Cost]]:
        return {
            "ferresnet": lambda: self._avemo.cost("--backbone", "ferresnet"),
            "default": self._avemo.cost,
        }

    def _before(self, until_done: ExitStack) -> dict[str, Callable[[], Cost]]:
        older = [self._options.before]
        return {"before": lambda: self._avemo.cost(command=older), "default": self._avemo.cost}


def table_row(row: str, measured: dict[str, Any], frames: int) -> list[str]:
    """Format a row of the table, with the medians of all rounds."""
    (first, one), (second, two) = measured["costs"].items()
    walls = [median(cost[0] for cost in costs) for costs in (one, two)]
    busy = [median(cost[1] for cost in costs) for costs in (one, two)]
    seconds = [
        f"{name} {wall:.1f} s ({frames / wall:.1f})"
        for name, wall in zip((first, second), walls, strict=True)
    ]
    ratios = [f"{walls[0] / walls[1]:.2f}", f"{busy[0] / busy[1]:.2f}"]
    return [row, *seconds, *ratios, GOALS[row], measured["machine"]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="CLIPS")
    parser.add_argument(
        "--row", action="append", choices=GOALS, help="repeatable; default: all that can be run"
    )
    parser.add_argument("--clips", type=int, default=24, help="number of clips, spread over the folder")
    parser.add_argument("--max-frames", type=int, help="frames per clip; default: all")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--plain-clips", type=int, default=2, help="number of these for the plain script")
    parser.add_argument("--before", metavar="COMMAND", help="avemo-extract of an older checkout")
    parser.add_argument(
        "--out", type=Path, metavar="FILE.json", help="file for the results; measured rows are not repeated"
    )
    options = parser.parse_args()
    rows = options.row or [row for row in GOALS if row != "before" or options.before]
    if "before" in rows and not options.before:
        parser.error("--row before needs --before COMMAND")
    clips = spread(sorted(options.folder.rglob("*.mp4")), options.clips)
    about = {"clips": len(clips), "max_frames": options.max_frames, "rounds": options.rounds}
    kept: dict[str, Any] = {"about": about, "rows": {}}
    if options.out and options.out.exists():
        kept = json.loads(options.out.read_text())
        if kept["about"] != about:
            parser.error(f"{options.out} is of other settings, {kept['about']}; name another file")
    with tempfile.TemporaryDirectory() as folder:
        measuring = Rows(clips, options, Path(folder))
        for row in [row for row in rows if row not in kept["rows"]]:
            kept["rows"][row] = {"machine": describe(), "costs": measuring.measure(row)}
            if options.out:
                options.out.write_text(json.dumps(kept, indent=1))
    frames = measuring.frames
    print(
        f"{len(clips)} clips, {frames} frames, {frames * VIEWS} views; medians of {options.rounds} rounds, "
        "frames/s in brackets"
    )
    header = ["row", "first", "second", "wall", "processor", "goal", "machine"]
    print(aligned(header, [table_row(row, kept["rows"][row], frames) for row in rows]))


if __name__ == "__main__":
    main()
