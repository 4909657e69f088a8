"""Peak memory of stage 1, which must not grow with a clip's length or with the number of clips.

* One clip after another of growing length, made by repeating one real clip (160 × 120 pixels, five
  frames a second, sound). Each is extracted by a process of its own without workers.
* Folders of growing size, extracted by two workers; peaks of the main process and of its largest worker.

Only buffers may grow, up to a limit: 128 MB of frames that are kept between finding faces and
computing features (clip.py), 32 MB of each array (spool.py), 64 MB of finished clips (writer.py). "peak"
is a process's own memory (RssAnon in /proc, so Linux only, read twenty times a second). "resident" also
counts pages of mapped files, such as libraries and the long arrays of the spool, which the kernel drops
when needed.

    python benchmarks/memory.py ../shared/data/java_sed/clips
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable
from fractions import Fraction
from itertools import cycle, islice
from pathlib import Path

import av
from machine import describe

from avemo.cache.clips import Clip
from avemo.cache.store import FeatureStore
from avemo.extract.plan import Plan
from avemo.extract.run import Extraction

FPS, WIDTH, HEIGHT = 5, 160, 120
MB = 1 / 1024  # /proc counts in kB


def small_copy(source: Path, target: Path) -> None:
    """Write a copy of a clip with few, small frames and its sound."""
    with av.open(str(source)) as clip, av.open(str(target), "w") as out:
        video = out.add_stream("mpeg4", rate=FPS)
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        audio = out.add_stream("aac", rate=44_100)
        step = round(float(clip.streams.video[0].average_rate or 25) / FPS)
        shown = 0
        for number, frame in enumerate(clip.decode(video=0)):
            if number % step == 0:
                small = frame.reformat(WIDTH, HEIGHT, "yuv420p")
                small.pts, small.time_base = shown, Fraction(1, FPS)
                out.mux(video.encode(small))
                shown += 1
        out.mux(video.encode(None))
        clip.seek(0)
        for heard in clip.decode(audio=0):
            out.mux(audio.encode(heard))
        out.mux(audio.encode(None))


def repeated(source: Path, target: Path, seconds: float) -> None:
    """Repeat the clip's packets, with shifted times, until ``seconds`` are full."""
    with av.open(str(source)) as clip:
        length = Fraction(clip.duration or 0, av.time_base)
        with av.open(str(target), "w") as out:
            streams = {stream.index: out.add_stream_from_template(stream) for stream in clip.streams}
            for turn in range(math.ceil(seconds / length)):
                clip.seek(0)
                for packet in clip.demux():
                    if packet.dts is None or packet.pts is None:
                        continue
                    shift = int(turn * length / packet.time_base)
                    packet.pts += shift
                    packet.dts += shift
                    packet.stream = streams[packet.stream.index]
                    out.mux(packet)


def extract(folder: Path, max_frames: int | None, workers: int) -> dict[str, float]:
    """Extract all clips in ``folder``; return peak MB of this process and of its largest worker."""
    clips = [Clip(path.stem, "all", str(path)) for path in sorted(folder.iterdir())]
    with tempfile.TemporaryDirectory() as name, Peaks() as peaks:
        plan = Plan(view_sets=("none",), max_frames=max_frames)
        with FeatureStore(Path(name) / "store", create=True) as store:
            failures = [
                result.failure
                for result in Extraction(clips, plan, store, workers, in_process=workers == 1)
                if result.failure
            ]
            store.refresh()
            frames = sum(row.entries["faces"].info["frames"] for row in store.rows if row.has("faces"))
    if failures:
        raise RuntimeError(f"a clip failed, so the peak means nothing: {failures[0]}")
    main = peaks.own.pop(os.getpid())
    return {
        "frames": frames,
        "main": main * MB,
        "worker": max(peaks.own.values(), default=0) * MB,
        "resident": status(os.getpid(), "VmHWM") * MB,
    }


class Peaks:
    """Watches this process and its descendants; ``own`` has the peak of each in kB."""

    def __init__(self) -> None:
        self.own: dict[int, int] = {}
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> Peaks:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(0.05):
            for pid in (os.getpid(), *children(os.getpid())):
                self.own[pid] = max(self.own.get(pid, 0), status(pid, "RssAnon"))


def children(pid: int) -> list[int]:
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            found += map(int, (task / "children").read_text().split())
        except OSError:
            continue
    return found


def status(pid: int, field: str) -> int:
    """Read a field of a process in kB; return 0 if the process is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith(f"{field}:")), 0)


def measured(folder: Path, max_frames: int | None = None, workers: int = 1) -> dict[str, float]:
    """Run :func:`extract` in a process of its own."""
    command = [sys.executable, __file__, str(folder), "--measure", str(workers)]
    if max_frames is not None:
        command += ["--max-frames", str(max_frames)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    result: dict[str, float] = json.loads(done.stdout)
    return result


def compare_lengths(source: Path, lengths: Iterable[int]) -> None:
    print(f"\n{'clip':>12} {'frames':>8} {'peak':>8} {'resident':>8} {'took':>8}")
    with tempfile.TemporaryDirectory() as name:
        small_copy(source, Path(name) / "small.mkv")
        for seconds in lengths:
            folder = Path(name) / f"{seconds}"
            folder.mkdir()
            repeated(Path(name) / "small.mkv", folder / "long.mkv", seconds)
            start = time.perf_counter()
            peaks = measured(folder)
            print(
                f"{seconds:>10} s {peaks['frames']:>8} {peaks['main']:>5.0f} MB "
                f"{peaks['resident']:>5.0f} MB {time.perf_counter() - start:>6.0f} s",
                flush=True,
            )


def compare_folders(sources: list[Path], counts: Iterable[int], max_frames: int) -> None:
    print(f"\n{'folder':>12} {'frames':>8} {'main':>8} {'worker':>8} {'took':>8}")
    for count in counts:
        with tempfile.TemporaryDirectory() as name:
            for number, source in enumerate(islice(cycle(sources), count)):
                (Path(name) / f"{number:05d}{source.suffix}").symlink_to(source.resolve())
            start = time.perf_counter()
            peaks = measured(Path(name), max_frames, workers=2)
            print(
                f"{count:>6} clips {peaks['frames']:>8} {peaks['main']:>5.0f} MB {peaks['worker']:>5.0f} MB "
                f"{time.perf_counter() - start:>6.0f} s",
                flush=True,
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="CLIPS")
    parser.add_argument("--seconds", type=int, nargs="*", default=[10, 60, 600])
    parser.add_argument("--clips", type=int, nargs="*", default=[4, 40])
    parser.add_argument("--max-frames", type=int, help="frames per clip of a folder (default 2)")
    parser.add_argument("--measure", type=int, metavar="WORKERS", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(extract(options.folder, options.max_frames, options.measure)))
        return
    sources = sorted(options.folder.rglob("*.mp4"))
    print(describe())
    if options.seconds:
        compare_lengths(sources[0], options.seconds)
    if options.clips:
        compare_folders(sources, options.clips, options.max_frames or 2)


if __name__ == "__main__":
    main()
