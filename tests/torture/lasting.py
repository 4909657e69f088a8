"""Long extraction: memory and open handles of every process must not grow.

python -m tests.torture.lasting film [--minutes 10]
python -m tests.torture.lasting frames [--count 12000]
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
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from fractions import Fraction
from functools import partial
from pathlib import Path
from statistics import median
from typing import NamedTuple, TextIO

import av
import click
import numpy as np
from scipy.stats import theilslopes
from skimage import data

from avemo.cache.store import FeatureStore

from .runs import CHEAP, Run, make_clips

SIZE, RATE = (1920, 1080), 25


WARM = 120.0  # seconds at least until what is loaded once is loaded


class Sample(NamedTuple):
    """Of one process at one time: seconds, MB of memory of its own, and open files."""

    time: float
    memory: float
    handles: int


def sample(run: Run) -> dict[str, Sample]:
    """Of each process of a run now; the main one, workers, and loky's tracker."""
    found = {}
    for pid, command in run.alive().items():
        with suppress(OSError, ValueError, IndexError):
            memory = int(Path(f"/proc/{pid}/status").read_text().partition("RssAnon:")[2].split()[0])
            kind = "worker" if "popen_loky" in command else "main" if pid == run.process.pid else "tracker"
            handles = len(list(Path(f"/proc/{pid}/fd").iterdir()))
            found[f"{kind} {pid}"] = Sample(round(time.monotonic(), 1), memory / 1024, handles)
    return found


def watched(
    run: Run, every: float, seconds: float = math.inf, log: TextIO | None = None
) -> Mapping[str, Sequence[Sample]]:
    """Samples of each process until the run is done or, after so long, interrupted; ``log`` gets them too."""
    series: dict[str, list[Sample]] = defaultdict(list)
    started = time.monotonic()
    try:
        while run.process.poll() is None:
            for process, found in sample(run).items():
                series[process].append(found)
                if log:
                    print(process, *found, sep=",", file=log, flush=True)
            time.sleep(every)
            if time.monotonic() - started > seconds:
                run.process.send_signal(signal.SIGINT)
                run.wait()
    finally:
        run.stop()
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
    options = ("--tta", "none", "--max-frames", str(max_frames), "--workers", "1")
    peaks = []
    for seconds in (3.0, 60 * minutes):
        peaks.append(peak_of(f"{seconds:g} s of 1080p", partial(write_film, seconds=seconds), options))
    _compare(peaks, most)


@main.command()
@click.option("--count", default=12_000, show_default=True, help="Frames of the longer film.")
@click.option("--most", default=1.3, show_default=True, help="Largest ratio of the peaks.")
def frames(count: int, most: float) -> None:
    """Extract all frames of a film of many small ones, and of a quarter of them.

    Both are longer than the frames that are kept in memory to be used twice.
    """
    options = ("--tta", "none", "--backbone", "ferresnet", "--workers", "1")
    peaks = [
        peak_of(f"{number} frames", partial(write_small, count=number), options)
        for number in (count // 4, count)
    ]
    _compare(peaks, most)


def _compare(peaks: Sequence[float], most: float) -> None:
    ratio = peaks[1] / peaks[0]
    click.echo(f"ratio {ratio:.2f}, at most {most:g}")
    sys.exit(ratio > most)


def write_small(path: Path, count: int) -> None:
    """A grey film of 160 × 120 pixels."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("mpeg4", rate=RATE)
        video.width, video.height, video.pix_fmt = 160, 120, "yuv420p"
        for number in range(count):
            image = np.full((120, 160, 3), number % 200, np.uint8)
            container.mux(video.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(video.encode(None))


def peak_of(name: str, write: Callable[[Path], None], options: Sequence[str]) -> float:
    """Most MB that the main process and its worker have had of their own while they extracted one film."""
    with tempfile.TemporaryDirectory() as scratch:
        (Path(scratch) / "clips").mkdir()
        write(Path(scratch) / "clips" / "film.mp4")
        started = time.monotonic()
        run = Run(Path(scratch) / "clips", Path(scratch) / "store", *options)
        series = watched(run, 0.1)
        if run.wait():
            sys.exit(run.output())
    peaks = {
        kind: max(each.memory for process, found in series.items() if kind in process for each in found)
        for kind in ("main", "worker")
    }
    figures = ", ".join(f"{kind} {peak:.0f} MB" for kind, peak in peaks.items())
    click.echo(f"{name}: {figures}, in {time.monotonic() - started:.0f} s")
    return sum(peaks.values())


@main.command()
@click.option("--clips", type=click.Path(path_type=Path, file_okay=False), help="Use these; else the demo's.")
@click.option("--minutes", default=60.0, show_default=True)
@click.option(
    "--most", default=1.05, show_default=True, help="Largest growth of memory, last to second quarter."
)
@click.option("--samples", type=click.File("w"), help="Write each sample to this CSV, as it is taken.")
def soak(clips: Path | None, minutes: float, most: float, samples: TextIO | None) -> None:
    """Extract the same clips again and again in one run, and compare its quarters."""
    broken = False
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        sources = sorted((clips or make_clips(folder / "clips")).rglob("*.mp4"))
        (folder / "many").mkdir()
        for number, source in zip(range(round(minutes * 600)), itertools.cycle(sources), strict=False):
            (folder / "many" / f"{number:06d}.mp4").symlink_to(source.resolve())
        run = Run(folder / "many", folder / "store", *CHEAP)
        series = watched(run, max(0.5, minutes / 10), 60 * minutes, samples)
        code = run.wait()
        with FeatureStore(folder / "store") as store:
            done = len(store.rows)
        click.echo(f"{minutes:g} minutes, {done} clips, exit code {code}")
        if code not in (0, 128 + signal.SIGINT):
            broken = True
            click.echo(run.output()[-2000:])
    for process, found in series.items():
        grows, figures = judge(found, most)
        click.echo(f"{process}: {figures}")
        broken = broken or grows
    sys.exit(broken)


def judge(found: Sequence[Sample], most: float) -> tuple[bool, str]:
    """Whether a process grew, or lived too shortly to tell; and its figures.

    What it loads in the first quarter, or in the first minutes, counts for nothing. Medians are compared, as
    one file or another is open at times, and memory goes up and down with the clip.
    """
    start, end = found[0].time, found[-1].time
    warm = max((end - start) / 4, WARM)
    third = (end - start - warm) / 3
    parts = [
        [each for each in found if 0 <= each.time - start - warm - third * number <= third]
        for number in range(3)
    ]
    if third <= 0 or min(map(len, parts)) < 3:
        return True, f"lived too shortly to tell ({end - start:.0f} s)"
    memory = [median(each.memory for each in part) for part in parts]
    handles = [median(each.handles for each in part) for part in parts]
    hours, megabytes = np.array([(each.time / 3600, each.memory) for part in parts for each in part]).T
    trend = theilslopes(megabytes, hours)[0]
    grows = memory[-1] > most * memory[0] + 2 or handles[-1] > handles[0]
    figures = " → ".join(f"{value:.1f}" for value in memory)
    return grows, (
        f"memory {figures} MB ({trend:+.1f} MB an hour), handles {' → '.join(f'{n:g}' for n in handles)}, "
        f"at most {max(each.handles for each in found)}" + (" GROWS" if grows else "")
    )


if __name__ == "__main__":
    main()
