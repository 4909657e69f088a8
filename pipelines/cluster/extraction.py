"""Stage 1 on many machines: clips are handed out in parts, and the store records progress."""

from __future__ import annotations

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
from ...extract.devices import torch_devices
from ...extract.errors import ExtractError
from ...extract.plan import Plan
from ...extract.precision import has_fast_bf16
from ...extract.run import Extraction, is_done
from .engine import Engine
from .rounds import DistributedWork


@dataclass(frozen=True)
class Part:
    """A batch of clips for one worker, with its settings.

    Attributes:
        clips: clips to extract.
        plan: extraction settings; on the worker's machine they must give the same ``keys``.
        keys: stream → key, as computed by the command that hands out the part.
        store: store to write to; each worker has its own shards and journal in it.
        workers: parallel processes; 0 for one per core.
        cores: processor cores that these processes may use.
        silence: seconds without progress after which a clip fails; 0 for no limit.
        version: avemo version of the command.
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
    """Extract a part into its store. This is what one cluster task does, under any engine.

    Streams that are already stored are skipped, so any worker can take over a part begun elsewhere.

    Returns:
        Number of clips in the part.

    Raises:
        ExtractError: this machine would compute different features, or cannot see the clips.
        StoreError: this machine cannot see the store.
    """
    from ...extract.streams.registry import keys_of

    if part.version != __version__:
        raise ExtractError(
            f"this machine has avemo {__version__}, but the command runs {part.version}: install the same one"
        )
    here = keys_of(part.plan)
    for stream, key in part.keys.items():
        if here.get(stream) != key:
            changes = key.differences(here[stream]) if stream in here else ["not made here"]
            raise ExtractError(
                f"{stream} would have other settings on this machine ({'; '.join(changes)}: command / here); "
                "use the same files and packages on all machines, and set --precision"
            )
    if not any(Path(clip.path).exists() for clip in part.clips):
        raise ExtractError(
            f"none of {len(part.clips)} clips is found: {part.clips[0].path} and others; mount their disk"
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


class DistributedExtraction(DistributedWork[tuple[str, str], ClipResult]):
    """Runs the jobs of an extraction on an engine's workers; iterating yields the same results as the run.

    Args:
        run: extraction whose jobs are to be done.
        store: store that the workers write to.
        engine: engine that runs the tasks.
        workers: processes per task; 0 for one per core of the task.
        on_message: see :class:`.DistributedWork`.
    """

    unit = "clip"
    min_units = 4

    def __init__(
        self,
        run: Extraction,
        store: FeatureStore,
        engine: Engine,
        workers: int,
        on_message: Callable[[str], None],
    ) -> None:
        super().__init__(engine, on_message)
        self.jobs = run.jobs
        self._run, self._store, self._workers = run, store, workers
        self._plan = run.plan
        if run.plan.precision == "auto" and not has_fast_bf16(torch_devices(run.plan.device)[0]):
            self._plan = replace(run.plan, precision="fp32")  # as auto means here; a GPU would take bf16
        self._by_key = {job.clip.key: job for job in run.jobs}
        self.remaining = dict.fromkeys(self._by_key)
        self._ended_keys: set[tuple[str, str]] = set()

    def __iter__(self) -> Iterator[ClipResult]:
        """Hand out the clips and yield each result once it is in the store."""
        self._run.settle()
        yield from super().__iter__()

    def function(self) -> Callable[[Part], int]:
        """See :meth:`.DistributedWork.function`."""
        return extract_part

    def part(self, keys: tuple[tuple[str, str], ...]) -> Part:
        """See :meth:`.DistributedWork.part`."""
        return Part(
            tuple(self._by_key[key].clip for key in keys),
            self._plan,
            self._run.keys,
            self._store.path,
            self._workers,
            self._engine.cores,
            self._run.silence,
        )

    def part_ended(self, keys: tuple[tuple[str, str], ...]) -> None:
        """See :meth:`.DistributedWork.part_ended`."""
        self._ended_keys.update(keys)

    def found(self) -> Iterator[tuple[tuple[str, str], ClipResult]]:
        """Yield clips that have reached the store.

        A stored failure may be left from an earlier run, so it counts only once the clip's part has ended.
        """
        self._store.refresh()
        for key in [*self.remaining]:
            job = self._by_key[key]
            row = self._store.row(job.clip)
            complete = row is not None and all(
                is_done(row, stream, wanted) for stream, wanted in job.keys.items()
            )
            if row is not None and (complete or key in self._ended_keys):
                yield key, _result(job, row)


def _result(job: ClipJob, row: Row) -> ClipResult:
    entries = {stream: row.entries[stream] for stream in job.keys if stream in row.entries}
    streams = {
        stream: Outcome(entry.key, entry.status, entry.reason, entry.info)
        for stream, entry in entries.items()
    }
    warnings = [str(entry.info["warning"]) for entry in entries.values() if "warning" in entry.info]
    return ClipResult(job, row.source, streams, warnings=warnings)
