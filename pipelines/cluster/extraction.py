"""Stage 1 on many machines: clips are handed out in parts, and the store says how far they are."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from ... import __version__
from ...cache.clips import Clip
from ...cache.keys import FeatureKey
from ...cache.rows import Row
from ...cache.store import FeatureStore
from ...cache.writer import Outcome
from ...extract import CLIP_TIMEOUT
from ...extract.clip import ClipJob, ClipResult
from ...extract.devices import torch_device
from ...extract.errors import ExtractError
from ...extract.plan import Plan
from ...extract.precision import has_fast_bf16
from ...extract.run import Extraction, is_done
from .engine import ClusterError, Engine, dealt

PARTS = 8
"""Parts for each task that runs at once: a slow one delays the end by an eighth of the time at most."""
LEAST = 4
"""Clips of a part: a task takes seconds to start."""
MOST = 1000
"""Parts in all: an array of Slurm has 1,001 tasks, if nobody raised that."""
TRIES = 3
LOOK = 2.0  # seconds
SHARE = 10
"""The journals are read for at most one part in so many of the time."""


@dataclass(frozen=True)
class Part:
    """Clips that one worker extracts, and how.

    Attributes:
        clips: the clips.
        plan: the settings; here they must give ``keys``.
        keys: by stream, the keys of the command that hands out the part.
        store: where it writes, with shards and a journal of its own.
        workers: parallel processes; 0 for one per core.
        cores: of the machine's processors, those that the processes may use.
        silence: seconds without any progress on a clip after which it fails; 0 for no limit.
        version: of avemo, where the part was handed out.
    """

    clips: tuple[Clip, ...]
    plan: Plan
    keys: Mapping[str, FeatureKey]
    store: Path
    workers: int
    cores: int
    silence: float = CLIP_TIMEOUT
    version: str = __version__


def extract_part(part: Part) -> int:
    """Extract a part into its store: the work of one process of a cluster, whatever started it.

    What is stored of it already is not made again, so a part that was begun elsewhere may be given to anyone.

    Returns:
        How many clips it has.

    Raises:
        ExtractError: this machine would make other features, or does not see the clips.
        StoreError: it does not see the store.
    """
    from ...extract.streams.registry import keys_of

    if part.version != __version__:
        raise ExtractError(
            f"avemo {__version__} is installed here, and {part.version} where the command runs: install that"
        )
    here = keys_of(part.plan)
    for stream, key in part.keys.items():
        if here.get(stream) != key:
            changes = key.differences(here[stream]) if stream in here else ["it is not made here"]
            raise ExtractError(
                f"{stream} would be made with other settings here ({'; '.join(changes)}: command / here); "
                "use the same files and packages on all machines, and name --precision"
            )
    if not any(Path(clip.path).exists() for clip in part.clips):
        raise ExtractError(
            f"none of {len(part.clips)} clips is there: {part.clips[0].path} and others; mount their disk"
        )
    with FeatureStore(part.store) as store:
        run = Extraction(
            part.clips,
            part.plan,
            store,
            part.workers,
            replace=True,
            cores=part.cores,
            silence=part.silence,
        )
        for _ in run:
            pass
    return len(part.clips)


class SpreadExtraction:
    """The jobs of a run, done by an engine's workers; iterating yields results as the run itself does.

    A part whose worker was lost is handed out again with all else that is missing, in up to three rounds.
    Leaving early, by Ctrl-C too, loses nothing: the same command finds what is stored, and waits for tasks
    that an earlier one left.

    Args:
        run: what is to be done.
        store: where it is put.
        engine: hands it out.
        workers: processes of each task; 0 for one per core that it has.
        told: hears of workers that failed.
    """

    def __init__(
        self, run: Extraction, store: FeatureStore, engine: Engine, workers: int, told: Callable[[str], None]
    ) -> None:
        self.jobs = run.jobs
        self._run, self._store, self._engine, self._workers, self._told = run, store, engine, workers, told
        self._plan = run.plan
        if run.plan.precision == "auto" and not has_fast_bf16(torch_device(run.plan.device)):
            self._plan = replace(run.plan, precision="fp32")  # what auto is here; a GPU would take bf16
        self._left = {job.clip.key: job for job in run.jobs}
        self._ended: set[tuple[str, str]] = set()
        self._next_look = 0.0

    def __iter__(self) -> Iterator[ClipResult]:
        """Hand out, and yield each clip's result when it is in the store."""
        self._run.settle()
        troubles: dict[str, None] = {}
        for _ in range(TRIES):
            while self._engine.busy():
                yield from self._news()
                time.sleep(LOOK)
            yield from self._news(at_once=True)
            before = len(self._left)
            yield from self._round(troubles)
            if not self._left:
                self._engine.close()
                return
            if len(self._left) == before:
                break  # it is not for want of luck
        raise ClusterError(
            f"{len(self._left)} clips are not done, as their workers failed: "
            f"{next(reversed(troubles), 'nothing is known of them')}; what was done is stored, and the same "
            "command goes on"
        )

    def _round(self, troubles: dict[str, None]) -> Iterator[ClipResult]:
        if not self._left:
            return
        clips = [job.clip for job in self._left.values()]
        parts = [
            Part(
                part,
                self._plan,
                self._run.keys,
                self._store.path,
                self._workers,
                self._engine.cores,
                self._run.silence,
            )
            for part in dealt(clips, _parts(len(clips), self._engine.tasks))
        ]
        for ended in self._engine.map(extract_part, parts):
            if ended is not None and ended.trouble:
                if ended.trouble not in troubles:
                    self._told(ended.trouble)
                troubles[ended.trouble] = None
            elif ended is not None:
                self._ended |= {clip.key for clip in parts[ended.place].clips}
            yield from self._news()
        yield from self._news(at_once=True)

    def _news(self, at_once: bool = False) -> Iterator[ClipResult]:
        """Results of clips that came into the store.

        A stored failure may be of an earlier run. It counts when the clip's part has ended.
        """
        if not at_once and time.monotonic() < self._next_look:
            return
        began = time.monotonic()
        self._store.refresh()
        for key, job in list(self._left.items()):
            row = self._store.row(job.clip)
            whole = row is not None and all(
                is_done(row, stream, wanted) for stream, wanted in job.keys.items()
            )
            if row is not None and (whole or key in self._ended):
                del self._left[key]
                yield _result(job, row)
        now = time.monotonic()
        self._next_look = now + max(LOOK, SHARE * (now - began))


def _parts(clips: int, tasks: int) -> int:
    return max(min(PARTS * tasks, clips // LEAST, MOST), min(tasks, MOST))


def _result(job: ClipJob, row: Row) -> ClipResult:
    entries = {stream: row.entries[stream] for stream in job.keys if stream in row.entries}
    streams = {
        stream: Outcome(entry.key, entry.status, entry.reason, entry.info)
        for stream, entry in entries.items()
    }
    warnings = [str(entry.info["warning"]) for entry in entries.values() if "warning" in entry.info]
    return ClipResult(job, row.source, streams, warnings=warnings)
