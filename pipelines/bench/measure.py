"""Times stage 1 by the code that does it: each stage with nothing beside it, then all processes together."""

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

WARM = "warm-up"  # the split of clips that are not counted: a process loads its networks with the first
FEWEST = 4  # clips, if the folder has as many
PROBE = 0.2  # seconds of film from which it is told how much can be timed

OnClip = Callable[[int, int], None]
"""Is told how many clips are done, and of how many."""


@dataclass(frozen=True)
class BenchSettings:
    """What to time.

    Attributes:
        clips: all clips of the folder.
        plan: which features.
        workers: parallel processes; 0 for one per core.
        count: at most so many clips, spread evenly over the folder.
        seconds: about so long; fewer seconds of film are timed where that needs it.
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
    """A run of stage 1 over some clips, without its start.

    Attributes:
        start: seconds until the processes had started and loaded their networks.
        wall: seconds from then to the end, the store closed.
        spent: by stage, summed over clips that did not fail.
        clips, frames: how many did not fail, and their frames.
        failed: id of a clip that failed → why.
        workers, threads: processes, and threads of each.
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
    """What was found.

    Attributes:
        alone: one process, nothing beside it.
        whole: all processes together.
        film: seconds of film that each of them read.
        lengths: of the chosen clips, before they were cut short.
        corpus: clips in the folder.
    """

    alone: TimedRun
    whole: TimedRun
    film: float
    lengths: Sequence[ClipLength]
    corpus: int


def measure(settings: BenchSettings, folder: Path, on_clip: OnClip) -> Measured:
    """Time stage 1; ``folder`` takes excerpts and stores.

    Raises:
        ExtractError: the plan asks for something that there is not, or none of the clips can be read.
    """
    started = time.perf_counter()
    keys_of(settings.plan)  # what cannot be used is told before any clip is read
    chosen = spread(settings.clips, settings.count)
    lengths = {clip.key: length_of(clip, settings.plan.max_frames) for clip in chosen}
    good = {clip.key: found for clip in chosen if (found := lengths[clip.key])}
    if not good:
        raise ExtractError(f"none of {len(chosen)} clips can be read, as {chosen[0].path}; name others")
    cuts = folder / "excerpts"
    cuts.mkdir()
    probe, first = _probe([clip for clip in chosen if clip.key in good], cuts)
    run = _Runs(settings, probe, folder, on_clip)
    one = run.timed([first], 1, threads=1)
    if not one.clips:
        raise ExtractError(f"{first.path}: {next(iter(one.failed.values()))}; name other clips")
    cost = sum(spent.wall for spent in one.spent.values()) / PROBE
    left = settings.seconds - 3 * (time.perf_counter() - started)  # the other runs must start, too
    film = max(0.4 * left, 0.1 * settings.seconds) / cost
    sample, cut_failed = _cut(chosen, good, film, cuts)
    run.total = 2 * len(sample)
    whole = run.timed(sample, settings.workers)
    alone = run.timed(sample, 1, whole.threads)
    if not alone.clips or not whole.clips:
        raise ExtractError(f"all of {len(sample)} clips failed, as: {next(iter(alone.failed.values()))}")
    seconds = sum(found.seconds for clip in sample if (found := length_of(clip, None)))
    whole = replace(whole, failed={**cut_failed, **whole.failed})
    return Measured(alone, whole, seconds, list(good.values()), len(settings.clips))


def _probe(clips: Sequence[Clip], folder: Path) -> tuple[Clip, Clip]:
    """A moment of the first clip of which one can be cut, twice."""
    for clip in clips:
        try:
            cut = excerpt(clip, PROBE, folder)
        except ClipError:
            continue
        return replace(cut, split=WARM), replace(cut, split="probe")
    raise ExtractError(f"no excerpt of {len(clips)} clips can be cut, as of {clips[0].path}; name others")


def _cut(
    chosen: Sequence[Clip], lengths: dict[tuple[str, str], ClipLength], film: float, folder: Path
) -> tuple[list[Clip], dict[str, str]]:
    """Excerpts of some ``film`` seconds in all, and why others have none."""
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
        cut.append(clip)  # what cannot be read fails in the run, which says why
    return cut, failed


class _Runs:
    """Runs of one plan, each into a new store."""

    def __init__(self, settings: BenchSettings, probe: Clip, folder: Path, on_clip: OnClip) -> None:
        self._settings, self._probe, self._folder, self._on_clip = settings, probe, folder, on_clip
        self._count = self._done = 0
        self.total = 0

    def timed(self, clips: Sequence[Clip], workers: int, threads: int = 0) -> TimedRun:
        """Time a run; without ``threads``, with as many as suit the workers."""
        self._count += 1
        with FeatureStore(self._folder / f"store-{self._count}", create=True) as store:
            plan, apart = self._settings.plan, self._settings.apart
            many = Extraction(clips, plan, store, workers).workers
            warm = [replace(self._probe, id=f"{WARM} {number}") for number in range(many)]
            run = Extraction([*warm, *clips], plan, store, many, apart=apart)
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
        start = float(np.mean(warmed))  # each process goes on when it is warm
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
            spent[stage] = spent.get(stage, Spent()).and_also(own)
    return spent


def _frames(result: ClipResult) -> int:
    faces = result.streams.get(FACES)
    return int(faces.info.get("frames", 0)) if faces else 0
