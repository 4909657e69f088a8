"""Kills real extraction with two processes at random moments.

    python -m tests.torture.kill [--kills 200] [--seed 0]

A run is killed by SIGKILL at a random moment: the whole process group, the main process alone, or one worker.
The store is verified, and the same command resumes the run until it is killed again. Each finished store is
compared with that of an undisturbed run; then the next one is started.
"""

from __future__ import annotations

import math
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import click

from avemo.cache.checks import inspect, repair, unused
from avemo.cache.errors import StoreError
from avemo.cache.store import FeatureStore

from .runs import Held, Run, held, make_clips, strangers, written

WAYS = ("group", "main", "worker")
PROBLEMS = (
    "stores that cannot be read",
    "damaged arrays or lines",
    "journalled clips lost",
    "clips done twice",
    "arrays that differ from an undisturbed run's",
    "resumed runs that failed",
    "files left behind",
    "processes left alive",
)


class Killer:
    """Kills runs, and counts what is wrong then.

    Args:
        clips: the clips.
        scratch: an empty folder.
        seed: of the moments and ways.
        on_problem: called with each problem.
    """

    def __init__(self, clips: Path, scratch: Path, seed: int, on_problem: Callable[[str], None]) -> None:
        self.kills: Counter[str] = Counter()
        self.problems: Counter[str] = Counter()
        self.stores = self.unused = 0
        self._clips, self._scratch, self._on_problem = clips, scratch, on_problem
        self._random = random.Random(seed)
        started = time.monotonic()
        run = Run(clips, scratch / "undisturbed")
        if run.wait() != 0:
            raise RuntimeError(run.output())
        self._length = time.monotonic() - started
        self._expected = held(scratch / "undisturbed")
        self._before: Held = {}

    @property
    def store(self) -> Path:
        """Of the runs that are killed now."""
        return self._scratch / f"store-{self.stores}"

    def until(self, kills: int, seconds: float = math.inf) -> None:
        """Kill so often, or for so long; then let the last run get done."""
        end = time.monotonic() + seconds
        while sum(self.kills.values()) < kills and time.monotonic() < end:
            self._once()
        while not self._finished(Run(self._clips, self.store, shard_seconds=0)):
            pass

    def _once(self) -> None:
        run = Run(self._clips, self.store, shard_seconds=0)
        way = WAYS[sum(self.kills.values()) % len(WAYS)]
        self._sleep(run)
        if way == "worker":
            workers = run.workers()
            if workers:
                self._kill(run, self._random.choice(workers), way)
            if not self._random.randrange(2):  # and on it goes
                self._finished(run)
                return
            self._sleep(run)
            way = "group"
        if run.process.poll() is not None:
            self._finished(run)
            return
        if way == "group":
            with suppress(ProcessLookupError):
                os.killpg(run.process.pid, signal.SIGKILL)
                self.kills[way] += 1
        else:
            self._kill(run, run.process.pid, way)
        run.wait()
        self._check(run)

    def _kill(self, run: Run, pid: int, way: str) -> None:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
            self.kills[way] += 1

    def _sleep(self, run: Run) -> None:
        """Until a random moment: at any time of the run, or soon after it has stored a clip."""
        moment = time.monotonic() + self._random.uniform(0, self._length)
        if self._random.randrange(3):
            shards = self.store / "shards"
            before = len(list(shards.glob("*.h5")))
            end = time.monotonic() + 60
            while run.process.poll() is None and time.monotonic() < end:
                if len(list(shards.glob("*.h5"))) > before:
                    break
                time.sleep(0.002)
            moment = time.monotonic() + self._random.uniform(0, 0.6)
        while run.process.poll() is None and time.monotonic() < moment:
            time.sleep(0.002)

    def _check(self, run: Run) -> None:
        """Verify what a killed run left."""
        if not run.gone(15):
            self._count("processes left alive", str(run.alive()))
            with suppress(ProcessLookupError):
                os.killpg(run.process.pid, signal.SIGKILL)
        if not (self.store / "store.json").exists():
            return
        try:
            with FeatureStore(self.store) as store:
                if store.senseless or inspect(store).damaged:
                    self._count("damaged arrays or lines", str(inspect(store)))
            now = held(self.store)
        except StoreError as error:
            self._count("stores that cannot be read", str(error))
            return
        lost = {key for key, value in self._before.items() if now.get(key) != value}
        if lost:
            self._count("journalled clips lost", str(lost))
        self._before = now

    def _finished(self, run: Run) -> bool:
        """Let a run get done; compare its store, and begin another."""
        code = run.wait()
        self._check(run)
        if code != 0:
            self._count("resumed runs that failed", f"exit code {code}: {run.output()[-2000:]}")
            return False
        now = held(self.store)
        wrong = {key for key in {*now, *self._expected} if now.get(key) != self._expected.get(key)}
        if wrong:
            self._count("arrays that differ from an undisturbed run's", str(sorted(wrong)))
        twice = {key: count for key, count in written(self.store).items() if count > 1}
        if twice:
            self._count("clips done twice", str(twice))
        with FeatureStore(self.store) as store:
            self.unused += len(unused(store))
            repair(store, inspect(store))
        left = strangers(self.store) + [str(path) for path in run.temporary.iterdir()]
        with FeatureStore(self.store) as store:
            left += unused(store)
        if left:
            self._count("files left behind", str(left))
        shutil.rmtree(self.store)
        shutil.rmtree(run.temporary)
        self.stores += 1
        self._before = {}
        return True

    def _count(self, problem: str, what: str) -> None:
        self.problems[problem] += 1
        self._on_problem(f"{problem}: {what}")


@click.command()
@click.option("--clips", type=click.Path(path_type=Path, file_okay=False), help="Use these; else the demo's.")
@click.option("--kills", default=200, show_default=True)
@click.option("--minutes", default=math.inf, help="Stop earlier, after so long.")
@click.option("--seed", default=0, show_default=True)
def main(clips: Path | None, kills: int, minutes: float, seed: int) -> None:
    """Kill real extraction at random moments, resume it, and check what is left."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as scratch:
        clips = clips or make_clips(Path(scratch) / "clips")
        killer = Killer(clips, Path(scratch), seed, lambda text: click.echo(text, err=True))
        killer.until(kills, 60 * minutes)
    ways = ", ".join(f"{count} of a {way}" for way, count in killer.kills.items())
    click.echo(
        f"{sum(killer.kills.values())} kills ({ways}), {killer.stores} stores done, seed {seed}, "
        f"{time.monotonic() - started:.0f} s"
    )
    for problem in PROBLEMS:
        click.echo(f"{killer.problems[problem]:>6}  {problem}")
    click.echo(f"{killer.unused:>6}  shards without a line in the journal, which verify --repair removed")
    sys.exit(bool(killer.problems))


if __name__ == "__main__":
    main()
