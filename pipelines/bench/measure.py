"""Times stage 1 by running its real code: first one process alone, then all processes together."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ...cache.clips import Clip
from ...cache.store import FeatureStore
from ...extract.clip import ClipResult
from ...extract.errors import ClipError, ExtractError
from ...extract.plan import Plan
from ...extract.run import Extraction
from ...extract.stopwatch import WRITE, Spent
from ...extract.streams.faces import FACES
from ...extract.streams.registry import keys_of
from .sample import LONGEST, SHORTEST, ClipLength, excerpt, length_of, spread

WARM = "warm-up"  # split of clips that are not timed: each process loads its networks with its first clip
FEWEST = 4  # minimum number of clips, if the folder has as many
PROBE = 0.2  # seconds of film used to estimate how much can be timed

OnClip = Callable[[int, int], None]
"""Called with the number of clips done and their total."""


@dataclass(frozen=True)
class BenchSettings:
    """What to time.

    Attributes:
        clips: all clips of the folder.
        plan: features to extract.
        workers: parallel processes; 0 for one per core.
        count: maximum number of clips, spread evenly over the folder.
        seconds: approximate duration; clips are cut or left out to meet it.
        apart: whether networks run in processes of their own; see :class:`~avemo.extract.run.Extraction`.
    """

    clips: Sequence[Clip]
    plan: Plan
    workers: int = 0
    count: int = 24
    seconds: float = 60.0
    apart: bool | None = None


@dataclass(frozen=True)
class TimedRun:
    """A timed run of stage 1 over some clips.

    Attributes:
        start: seconds until the processes had started and loaded their networks.
        wall: seconds from then until the store was closed.
        spent: stage → time, summed over clips that did not fail.
        clips, frames: number of clips that did not fail, and of their frames.
        failed: id of a failed clip → reason.
        workers, threads: number of processes, and of threads per process.
    """

    start: float
    wall: float
    spent: dict[str, Spent]
    clips: int
    frames: int
    failed: dict[str, str]
    workers: int
    threads: int


@dataclass(frozen=True)
class Measured:
    """The measured times.

    Attributes:
        alone: run with one process.
        whole: run with all processes.
        film: seconds of film that each run read.
        lengths: lengths of the chosen clips before they were cut.
        corpus: number of clips in the folder.
    """

    alone: TimedRun
    whole: TimedRun
    film: float
    lengths: Sequence[ClipLength]
    corpus: int


def measure(settings: BenchSettings, folder: Path, on_clip: OnClip) -> Measured:
    """Time stage 1, with excerpts and stores in ``folder``.

    Raises:
        ExtractError: something that the plan needs is not available, or none of the clips can be read.
    """
    started = time.perf_counter()
    keys_of(settings.plan)  # raises for an invalid plan before any clip is read
    chosen = spread(settings.clips, settings.count)
    lengths = {clip.key: length_of(clip, settings.plan.max_frames) for clip in chosen}
    good = {clip.key: found for clip in chosen if (found := lengths[clip.key])}
    if not good:
        raise ExtractError(f"none of {len(chosen)} clips can be read, such as {chosen[0].path}; name others")
    cuts = folder / "excerpts"
    cuts.mkdir()
    probe, first = _probe([clip for clip in chosen if clip.key in good], cuts)
    run = _Runs(settings, probe, folder, on_clip)
    one = run.timed([first], 1, threads=1)
    if not one.clips:
        raise ExtractError(f"{first.path}: {next(iter(one.failed.values()))}; name other clips")
    cost = sum(spent.wall for spent in one.spent.values()) / PROBE
    left = settings.seconds - 3 * (time.perf_counter() - started)  # the other runs also need time to start
    film = max(0.4 * left, 0.1 * settings.seconds) / cost
    sample, cut_failed = _cut(chosen, good, film, cuts)
    run.total = 2 * len(sample)
    whole = run.timed(sample, settings.workers)
    alone = run.timed(sample, 1, whole.threads)
    if not alone.clips or not whole.clips:
        raise ExtractError(
            f"all of {len(sample)} clips failed; the first: {next(iter(alone.failed.values()))}"
        )
    seconds = sum(found.seconds for clip in sample if (found := length_of(clip, None)))
    whole = replace(whole, failed={**cut_failed, **whole.failed})
    return Measured(alone, whole, seconds, list(good.values()), len(settings.clips))


def _probe(clips: Sequence[Clip], folder: Path) -> tuple[Clip, Clip]:
    """Cut a short excerpt from the first clip that allows it; return it as warm-up and as probe."""
    for clip in clips:
        try:
            cut = excerpt(clip, PROBE, folder)
        except ClipError:
            continue
        return replace(cut, split=WARM), replace(cut, split="probe")
    raise ExtractError(f"none of {len(clips)} clips can be cut, such as {clips[0].path}; name others")


def _cut(
    chosen: Sequence[Clip], lengths: dict[tuple[str, str], ClipLength], film: float, folder: Path
) -> tuple[list[Clip], dict[str, str]]:
    """Return excerpts of about ``film`` seconds in total, and clip id → reason where cutting failed."""
    clips = spread(chosen, max(FEWEST, int(film / SHORTEST)))
    each = float(np.clip(film / len(clips), SHORTEST, LONGEST))
    cut, failed = [], {}
    for clip in clips:
        if clip.key in lengths and lengths[clip.key].seconds > each:
            try:
                clip = excerpt(clip, each, folder)
            except ClipError as error:
                failed[clip.id] = str(error)
                continue
        cut.append(clip)  # an unreadable clip fails in the run, with its reason
    return cut, failed


class _Runs:
    """Runs of one plan, each with a new store."""

    def __init__(self, settings: BenchSettings, probe: Clip, folder: Path, on_clip: OnClip) -> None:
        self._settings, self._probe, self._folder, self._on_clip = settings, probe, folder, on_clip
        self._count = self._done = 0
        self.total = 0

    def timed(self, clips: Sequence[Clip], workers: int, threads: int = 0) -> TimedRun:
        """Time a run; ``threads`` of 0 means the default number for these workers."""
        self._count += 1
        with FeatureStore(self._folder / f"store-{self._count}", create=True) as store:
            plan, apart = self._settings.plan, self._settings.apart
            many = Extraction(clips, plan, store, workers).workers
            warm = [replace(self._probe, id=f"{WARM} {number}") for number in range(many)]
            run = Extraction([*warm, *clips], plan, store, many, network_processes=apart)
            run.jobs.sort(key=lambda job: job.clip.split != WARM)
            run.threads = threads or run.threads
            return self._timed(run)

    def _timed(self, run: Extraction) -> TimedRun:
        begun = time.perf_counter()
        warmed, results = [], []
        writing = Spent()
        for result in run:
            if result.job.clip.split == WARM:
                warmed.append(time.perf_counter() - begun)
                writing = run.watch.spent.get(WRITE, Spent())
                continue
            results.append(result)
            if self.total:
                self._done += 1
                self._on_clip(self._done, self.total)
        end = time.perf_counter() - begun
        start = float(np.mean(warmed))  # each process continues as soon as it is warm
        good = [result for result in results if not result.failure]
        spent = _summed(good)
        last = run.watch.spent[WRITE]
        spent[WRITE] = Spent(last.wall - writing.wall, last.busy - writing.busy)
        failed = {result.job.clip.id: result.failure for result in results if result.failure}
        frames = sum(_frames(result) for result in good)
        return TimedRun(start, end - start, spent, len(good), frames, failed, run.workers, run.threads)


def _summed(results: Sequence[ClipResult]) -> dict[str, Spent]:
    spent: dict[str, Spent] = {}
    for result in results:
        for stage, own in result.stages.items():
            spent[stage] = spent.get(stage, Spent()).plus(own)
    return spent


def _frames(result: ClipResult) -> int:
    faces = result.streams.get(FACES)
    return int(faces.info.get("frames", 0)) if faces else 0
