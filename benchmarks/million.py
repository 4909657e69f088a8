"""Time to open, count, resume and merge a store of a million clips, without its shards.

    python benchmarks/million.py FOLDER [--clips 1000000] [--journals 100]

The journals are those of real writers: 18 arrays a clip, as `avemo-extract` stores them by default, 60 clips
a shard. The shards themselves would be terabytes and are left out, so `verify` and training are not measured,
and the merge is of clips without arrays. Each step runs in a process of its own; its seconds and peak memory
are printed. Existing journals in FOLDER are reused.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from avemo.cache.clips import Clip
from avemo.cache.keys import FeatureKey
from avemo.cache.merge import Merge, contradictions
from avemo.cache.rows import Entry, Source
from avemo.cache.shards import ArrayRef
from avemo.cache.store import FeatureStore
from avemo.pipelines.store_status import store_status
from avemo.pipelines.tally import Tally

ARRAYS = {
    "faces": "times box points confidence has_face transform",
    "ferplusnet/default": "times basic mean std",
    "spectrogram": "times spectrogram",
    "logmel": "times logmel",
    "descriptors": "f0 voice level loudness",
}
KEYS = {name: FeatureKey(name, {"made": "for a benchmark"}) for name in ARRAYS}
FRAMES, A_SHARD, AT_ONCE = 100, 60, 5000


def clip(number: int) -> Clip:
    """Make a clip of four seconds."""
    name = f"{number // 1000:04d}/{number:07d}"
    return Clip(name, "train", f"/corpus/{name}.mp4", "Happy", f"speaker{number // 100}")


def entries(number: int, writer: str) -> dict[str, Entry]:
    """Make the stored entries of a clip."""
    start = number % A_SHARD * FRAMES
    shard = f"{writer}-{number // A_SHARD:05d}.h5"
    return {
        stream: Entry(
            key,
            "ok",
            info={"frames": FRAMES, "faces": FRAMES} if stream == "faces" else {},
            arrays={
                name: ArrayRef(
                    shard, f"{key.digest}/{name}", start, start + FRAMES, f"{number:016x}", "<f4[512]"
                )
                for name in ARRAYS[stream].split()
            },
        )
        for stream, key in KEYS.items()
    }


def source(number: int) -> Source:
    """Make the file record of a clip."""
    return Source(f"{number:064x}", 500_000, 1_700_000_000_000_000_000)


def make(folder: Path, clips: int, journals: int) -> None:
    """Write the journals of as many writers, each of which began when the one before had ended."""
    a_writer = -(-clips // journals)
    for first in range(0, clips, a_writer):
        with FeatureStore(folder, create=True) as store, store.writer() as writer:
            for number in range(first, min(first + a_writer, clips)):
                writer.adopt(clip(number), source(number), entries(number, writer.name))
                if number % AT_ONCE == 0:
                    writer.flush()


def open_store(folder: Path, clips: int) -> str:
    """Open the store and read one clip."""
    row = FeatureStore(folder).row(clip(clips - 1))
    return f"opened; the last clip has {len(row.entries) if row else 0} streams"


def count(folder: Path, clips: int) -> str:
    """`avemo store status`, except for the sizes of the shards."""
    return f"{store_status(FeatureStore(folder))['clips']:,} clips"


def resume(folder: Path, clips: int) -> str:
    """First pass of `avemo-extract`: compare each clip's file and keys, and find damage."""
    store = FeatureStore(folder)
    done = 0
    for number in range(clips):
        row = store.row(clip(number))
        done += bool(
            row
            and row.source == source(number)
            and all(row.has(name) and row.entries[name].key == KEYS[name] for name in KEYS)
        )
    assert not store.senseless
    return f"{done:,} of {clips:,} clips done"


def summarise(folder: Path, clips: int) -> str:
    """Second pass of `avemo-extract`: the summary at its end."""
    store = FeatureStore(folder)
    counts = Tally(row for row in map(store.row, map(clip, range(clips))) if row)
    return f"{sum(split.frames for split in counts.splits.values()):,} frames"


def write(folder: Path, clips: int) -> str:
    """Join as a writer, and add one clip."""
    with FeatureStore(folder) as store, store.writer() as writer:
        writer.adopt(clip(0), source(0), {})
    return "one clip added"


def merge(folder: Path, clips: int) -> str:
    """Merge half of the clips, without arrays, into a store that has the other half."""
    target = folder.with_name(f"{folder.name}-target")
    bare = {name: Entry(key, "absent", "no such stream") for name, key in KEYS.items()}
    parts = []
    for name, numbers in (("target", range(clips // 2)), ("source", range(clips // 2, clips))):
        parts.append(folder.with_name(f"{folder.name}-{name}"))
        if not parts[-1].exists():
            with FeatureStore(parts[-1], create=True) as store, store.writer() as writer:
                for number in numbers:
                    writer.adopt(clip(number), source(number), bare)
                    if number % AT_ONCE == 0:
                        writer.flush()
    begun = time.perf_counter()
    stores = [FeatureStore(path) for path in parts]
    assert not list(contradictions(stores))
    work = Merge(stores[1], stores[0])
    for _ in work:
        pass
    spent = time.perf_counter() - begun
    return f"{work.clips:,} clips into {target.name} in {spent:.1f} s"


STEPS: dict[str, Callable[[Path, int], str]] = {
    "open": open_store,
    "status": count,
    "resume": resume,
    "summary": summarise,
    "join as a writer": write,
    "merge": merge,
}


def measured(arguments: argparse.Namespace) -> Iterator[str]:
    yield "| step | result | seconds | of which on a core | peak memory, MB |"
    yield "|---|---|---|---|---|"
    for step in STEPS:
        words = [arguments.folder, "--clips", arguments.clips, "--step", step]
        command = [sys.executable, __file__, *map(str, words)]
        told = subprocess.run(command, stdout=subprocess.PIPE, check=True)
        result, seconds, computed, megabytes = json.loads(told.stdout)
        yield f"| {step} | {result} | {seconds:.1f} | {computed:.1f} | {megabytes:.0f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--clips", type=int, default=1_000_000)
    parser.add_argument("--journals", type=int, default=100)
    parser.add_argument("--step", choices=STEPS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.step:
        begun, computed = time.perf_counter(), time.process_time()
        result = STEPS[arguments.step](arguments.folder, arguments.clips)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
        print(json.dumps([result, time.perf_counter() - begun, time.process_time() - computed, peak]))
        return
    if not arguments.folder.exists():
        begun = time.perf_counter()
        make(arguments.folder, arguments.clips, arguments.journals)
        size = sum(path.stat().st_size for path in (arguments.folder / "journal").iterdir())
        print(f"made in {time.perf_counter() - begun:.0f} s: {size / 1e9:.2f} GB of journals", flush=True)
    for line in measured(arguments):
        print(line, flush=True)


if __name__ == "__main__":
    main()
