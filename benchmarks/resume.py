"""Time of commands that have nothing to compute, and of a first run until its first clip is done.

To make a store of many clips, one small clip is extracted, and its features are written for copies of it in
folders of two classes. The following are timed, each in a new process, as the best of several runs:

* ``avemo-extract`` on the whole folder, which is already stored, and ``avemo store status``;
* ``avemo-extract --help``;
* a first run on four clips: seconds until the first is done, and until all are.

    python benchmarks/resume.py [--clips 1809] [--times 3] [--keep FOLDER]
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

import av
import numpy as np
from machine import describe

from avemo.cache.rows import Source
from avemo.cache.store import FeatureStore
from avemo.cache.writer import Outcome
from avemo.extract.plan import Plan
from avemo.extract.run import Extraction
from avemo.pipelines.stage_one import ClipFolder

CLASSES = ("Happy", "Sad")

FIRST_RUN = """
import sys, time
from pathlib import Path
from avemo.extract.plan import Plan
from avemo.pipelines.stage_one import ClipFolder, ExtractionReporter, ExtractSettings, extract

class Told(ExtractionReporter):
    def results(self, work, total):
        for result in work:
            print(f"{time.time() - float(sys.argv[3]):.3f}", result.failure, flush=True)
            yield result

if __name__ == "__main__":
    extract(ExtractSettings(ClipFolder(Path(sys.argv[1])), Plan(), Path(sys.argv[2])), Told())
"""


def write_clip(path: Path, frames: int = 10) -> None:
    """Write ten grey frames of 160 × 120 pixels, and a tone."""
    with av.open(str(path), "w") as out:
        video = out.add_stream("mpeg4", rate=25)
        video.width, video.height, video.pix_fmt = 160, 120, "yuv420p"
        audio = out.add_stream("aac", rate=44_100, layout="mono")
        for number in range(frames):
            grey = np.full((120, 160, 3), 20 * number, np.uint8)
            out.mux(video.encode(av.VideoFrame.from_ndarray(grey, format="rgb24")))
        out.mux(video.encode(None))
        wave = np.sin(2 * np.pi * 440 * np.arange(44_100 * frames // 25) / 44_100)
        heard = av.AudioFrame.from_ndarray(wave.astype(np.float32)[None], format="fltp", layout="mono")
        heard.sample_rate = 44_100
        out.mux(audio.encode(heard))
        out.mux(audio.encode(None))


def make_store(folder: Path, count: int) -> None:
    """Make ``clips`` and ``store`` in ``folder``, as if ``count`` clips had been extracted."""
    paths = [folder / "clips" / CLASSES[n % 2] / f"{n:05d}.mp4" for n in range(count)]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
    write_clip(paths[0])
    for path in paths[1:]:
        shutil.copyfile(paths[0], path)
    clips = ClipFolder(folder / "clips").find().clips
    with FeatureStore(folder / "store", create=True) as store:
        (done,) = Extraction(clips[:1], Plan(), store, in_process=True)
        assert done.source is not None and not done.failure, done.failure
        store.refresh()
        first = store.rows[0]
        streams = {
            name: Outcome(entry.key, entry.status, entry.reason, entry.info, store.read(first, name))
            for name, entry in first.entries.items()
        }
        with store.writer() as writer:
            for clip in clips[1:]:
                stat = Path(clip.path).stat()
                writer.add(clip, Source(done.source.sha256, stat.st_size, stat.st_mtime_ns), streams)


def measured(name: str, command: Sequence[str | Path], times: int) -> None:
    """Print the minimum wall and processor seconds of a command, and whether it imports torch."""
    walls, processors = [], []
    for _ in range(times):
        before, start = os.times(), time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        after = os.times()
        walls.append(time.perf_counter() - start)
        processors.append(
            after.children_user + after.children_system - before.children_user - before.children_system
        )
    traced = subprocess.run([sys.executable, "-X", "importtime", *command], capture_output=True, text=True)
    torch = "imports torch" if " torch\n" in traced.stderr else "no torch"
    print(f"{name:>28} {min(walls):>6.2f} s wall {min(processors):>6.2f} s processor   {torch}", flush=True)


def first_run(folder: Path, times: int) -> None:
    """Print how long a first run takes until its first clip is done."""
    (folder / "few").mkdir(exist_ok=True)
    for number in range(4):
        write_clip(folder / "few" / f"{number}.mp4")
    (folder / "first.py").write_text(FIRST_RUN)
    found = []
    for _ in range(times):
        shutil.rmtree(folder / "fresh", ignore_errors=True)
        before, start = os.times(), str(time.time())
        command = [sys.executable, *map(str, (folder / "first.py", folder / "few", folder / "fresh")), start]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        after, lines = os.times(), done.stdout.split()
        processor = after.children_user - before.children_user
        found.append((float(lines[0]), float(lines[-1]), processor))
    first, last, processor = min(found)
    print(f"{'first of four clips done':>28} {first:>6.2f} s wall")
    print(f"{'all four clips done':>28} {last:>6.2f} s wall {processor:>6.2f} s processor")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--clips", type=int, default=1809)
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="folder for the store, which is kept")
    options = parser.parse_args()
    print(describe())
    commands = Path(sys.executable).parent
    with nullcontext(options.keep) if options.keep else tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if not (folder / "store").exists():
            make_store(folder, options.clips)
        extract, store = str(commands / "avemo-extract"), str(folder / "store")
        measured("all clips done", [extract, str(folder / "clips"), "--store", store], options.times)
        measured("store status", [str(commands / "avemo"), "store", "status", store], options.times)
        measured("--help", [extract, "--help"], options.times)
        first_run(folder, options.times)


if __name__ == "__main__":
    main()
