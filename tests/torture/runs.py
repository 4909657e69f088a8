"""Runs real extraction in separate processes, for the tests that disturb it."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from avemo.cache.store import FeatureStore
from avemo.pipelines.demo.set import claim, make

SCRIPT = """
from avemo.cache.store import FeatureStore
from avemo.cache.writer import StoreWriter
FeatureStore.writer = lambda self, **limits: StoreWriter(self.path, shard_seconds={shard_seconds})
{more}
from avemo.pipelines.cli.main import main
main()
"""
"""``avemo``, which closes a shard after so many seconds."""

CHEAP = ("--tta", "none", "--backbone", "ferresnet", "--max-frames", "2", "--workers", "2")

Held = Mapping[tuple[str, str], str]
"""(clip, stream) → checksum of the arrays, or the status where there are none."""


def make_clips(folder: Path, per_class: int = 1) -> Path:
    """The demo's clips."""
    for _ in make(folder, claim(folder, per_class, 0), 2):
        pass
    return folder


class Run:
    """``avemo-extract``, in a session of its own.

    Args:
        clips, store: as on its command line.
        options: further ones; :data:`CHEAP` where none are given.
        shard_seconds: after which a shard is written.
        more: Python for its main process to run first.
        folder: for its temporary files and for what it prints; that of the store where none is given.
        log: name of the latter.
    """

    def __init__(
        self,
        clips: Path,
        store: Path,
        *options: str,
        shard_seconds: float = 20.0,
        more: str = "",
        folder: Path | None = None,
        log: str = "",
    ) -> None:
        folder = folder or store.parent
        self.temporary = folder / "tmp"
        self.temporary.mkdir(exist_ok=True)
        script = SCRIPT.format(shard_seconds=shard_seconds, more=more)
        arguments = ["extract", str(clips), "--store", str(store), *(options or CHEAP)]
        self.log = folder / f"{log or store.name}.log"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", script, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={**os.environ, "TMPDIR": str(self.temporary), "OMP_NUM_THREADS": "1"},
            )

    def alive(self) -> dict[int, str]:
        """The processes of its session that still run, and their command lines."""
        return session(self.process.pid)

    def workers(self) -> list[int]:
        """Its worker processes."""
        return [pid for pid, command in self.alive().items() if "popen_loky" in command]

    def gone(self, seconds: float) -> bool:
        """Whether all of its processes end within that time."""
        deadline = time.monotonic() + seconds
        while self.process.poll() is None or self.alive():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.05)
        return True

    def wait(self, seconds: float = 600) -> int:
        """Its exit code."""
        return self.process.wait(seconds)

    def stop(self) -> None:
        """Kill it, if it still runs."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def output(self) -> str:
        """What it printed."""
        return self.log.read_text(errors="replace")


def session(number: int) -> dict[int, str]:
    """The processes of a session that still run, and their command lines."""
    found = {}
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError, ValueError):
            state, _, _, its = (path / "stat").read_text().rpartition(")")[2].split()[:4]
            if int(its) == number and state not in "ZX":
                found[int(path.name)] = (path / "cmdline").read_text().replace("\0", " ")
    return found


def held(path: Path) -> Held:
    """What a store holds; every array is read, and its checksum verified."""
    found = {}
    with FeatureStore(path) as store:
        for row in store.rows:
            for stream, entry in row.entries.items():
                found[str(row.clip), stream] = entry.status
                if row.has(stream):
                    digest = hashlib.sha256()
                    for name, array in sorted(store.read(row, stream).items()):
                        digest.update(f"{name}{array.dtype}{array.shape}".encode() + array.tobytes())
                    found[str(row.clip), stream] = digest.hexdigest()
    return found


def written(path: Path) -> Counter[tuple[str, str]]:
    """How often each (clip, stream) was journalled as done."""
    found: Counter[tuple[str, str]] = Counter()
    for file in (path / "journal").glob("*.jsonl"):
        for line in file.read_text().splitlines():
            with suppress(ValueError):  # a torn one
                record = json.loads(line)
                streams = record["streams"] if record.get("kind") == "clip" else {}
                found.update(
                    (record["clip"]["id"], name) for name in streams if streams[name]["status"] != "failed"
                )
    return found


def strangers(path: Path) -> list[str]:
    """Files in a store that are none of its own."""
    return sorted(
        str(file.relative_to(path))
        for file in path.rglob("*")
        if not (
            file == path / "store.json"
            or file in (path / "journal", path / "shards")
            or (file.parent.name == "journal" and file.suffix == ".jsonl")
            or (file.parent.name == "shards" and file.suffix == ".h5" and file.name[0] != ".")
        )
    )
