"""Extraction that lasts: memory and handles of every process must not grow.

python -m tests.torture.lasting film [--minutes 10]
python -m tests.torture.lasting soak [--minutes 60] [--clips DIR]
"""

from __future__ import annotations

import itertools
import math
import signal
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from statistics import median
from typing import NamedTuple

import av
import click
import numpy as np
from skimage import data

from .runs import CHEAP, Run, make_clips

SIZE, RATE = (1920, 1080), 25


class Sample(NamedTuple):
    """Of one process at one time: MB of memory of its own, and open files."""

    memory: float
    handles: int


def sample(run: Run) -> dict[str, Sample]:
    """Of each process of a run now; the main one, workers, and loky's tracker."""
    found = {}
    for pid, command in run.alive().items():
        with suppress(OSError, ValueError, IndexError):
            memory = int(Path(f"/proc/{pid}/status").read_text().partition("RssAnon:")[2].split()[0])
            kind = "worker" if "popen_loky" in command else "main" if pid == run.process.pid else "tracker"
            found[f"{kind} {pid}"] = Sample(memory / 1024, len(list(Path(f"/proc/{pid}/fd").iterdir())))
    return found


def watched(run: Run, every: float, seconds: float = math.inf) -> Mapping[str, Sequence[Sample]]:
    """Samples of each process until the run is done, or is interrupted after so long."""
    series: dict[str, list[Sample]] = defaultdict(list)
    end = time.monotonic() + seconds
    while run.process.poll() is None:
        for process, found in sample(run).items():
            series[process].append(found)
        time.sleep(every)
        if time.monotonic() > end:
            run.process.send_signal(signal.SIGINT)
            run.wait()
    return series


def write_film(path: Path, seconds: float) -> None:
    """A face that wanders over a picture of 1080p, with a tone."""
    width, height = SIZE
    face = data.astronaut()
    with av.open(str(path), "w") as container:
        video = container.add_stream("mpeg4", rate=RATE)
        video.width, video.height, video.pix_fmt, video.bit_rate = width, height, "yuv420p", 4_000_000
        audio = container.add_stream("aac", rate=16_000, layout="mono")
        for number in range(round(seconds * RATE)):
            image = np.full((height, width, 3), number % 50, np.uint8)
            top = round((height - len(face)) / 2 * (1 + math.sin(number / 40)))
            left = round((width - face.shape[1]) / 2 * (1 + math.sin(number / 70)))
            image[top : top + len(face), left : left + face.shape[1]] = face
            container.mux(video.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
            if number % RATE == 0:
                tone = 0.3 * np.sin(np.arange(16_000) * 0.2)
                frame = av.AudioFrame.from_ndarray(tone[None].astype(np.float32), "fltp", "mono")
                frame.sample_rate, frame.pts, frame.time_base = (
                    16_000,
                    number // RATE * 16_000,
                    Fraction(1, 16_000),
                )
                container.mux(audio.encode(frame))
        container.mux(video.encode(None))
        container.mux(audio.encode(None))


@click.group()
def main() -> None:
    """Extract for long, and see whether memory or handles grow."""


@main.command()
@click.option("--minutes", default=10.0, show_default=True, help="Length of the film.")
@click.option("--max-frames", default=600, show_default=True, help="Frames of each clip that are used.")
@click.option("--most", default=1.3, show_default=True, help="Largest ratio of the peaks.")
def film(minutes: float, max_frames: int, most: float) -> None:
    """Compare the peak memory of a film in 1080p with that of three seconds of it."""
    peaks = {}
    with tempfile.TemporaryDirectory() as scratch:
        for seconds in (3.0, 60 * minutes):
            folder = Path(scratch) / f"{seconds:g}"
            (folder / "clips").mkdir(parents=True)
            write_film(folder / "clips" / "film.mp4", seconds)
            options = ("--tta", "none", "--max-frames", str(max_frames), "--workers", "1")
            started = time.monotonic()
            run = Run(folder / "clips", folder / "store", *options)
            series = watched(run, 0.1)
            if run.wait():
                sys.exit(run.output())
            peaks[seconds] = {
                kind: max(
                    each.memory for process, found in series.items() if kind in process for each in found
                )
                for kind in ("main", "worker")
            }
            click.echo(
                f"{seconds:>6g} s of 1080p: main {peaks[seconds]['main']:.0f} MB, worker "
                f"{peaks[seconds]['worker']:.0f} MB, in {time.monotonic() - started:.0f} s"
            )
    short, long = peaks.values()
    ratio = sum(long.values()) / sum(short.values())
    click.echo(f"ratio {ratio:.2f}, at most {most:g}")
    sys.exit(ratio > most)


@main.command()
@click.option("--clips", type=click.Path(path_type=Path, file_okay=False), help="Use these; else the demo's.")
@click.option("--minutes", default=60.0, show_default=True)
@click.option(
    "--most", default=1.05, show_default=True, help="Largest growth of memory, last to second quarter."
)
def soak(clips: Path | None, minutes: float, most: float) -> None:
    """Extract the same clips again and again in one run, and compare its quarters."""
    broken = False
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        sources = sorted((clips or make_clips(folder / "clips")).rglob("*.mp4"))
        (folder / "many").mkdir()
        for number, source in zip(range(round(minutes * 600)), itertools.cycle(sources), strict=False):
            (folder / "many" / f"{number:06d}.mp4").symlink_to(source.resolve())
        run = Run(folder / "many", folder / "store", *CHEAP)
        series = watched(run, max(0.5, minutes / 10), 60 * minutes)
        done = len(list((folder / "store" / "shards").glob("*.h5")))
        click.echo(f"{minutes:g} minutes, {done} shards, exit code {run.wait()}")
        for process, found in series.items():
            quarter = len(found) // 4
            if quarter < 2:
                broken = broken or process.startswith("worker")
                click.echo(f"{process}: lived too shortly to tell ({len(found)} samples)")
                continue
            then, now = found[quarter : 2 * quarter], found[-quarter:]
            memory = [median(each.memory for each in part) for part in (then, now)]
            handles = [max(each.handles for each in part) for part in (then, now)]
            grown = memory[1] > most * memory[0] + 2 or handles[1] > handles[0]
            broken = broken or grown
            click.echo(
                f"{process}: memory {memory[0]:.1f} → {memory[1]:.1f} MB, handles {handles[0]} → {handles[1]}"
                + (" GROWS" if grown else "")
            )
    sys.exit(broken)


if __name__ == "__main__":
    main()
