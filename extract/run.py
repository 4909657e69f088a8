"""Stage 1 over many clips: finds what is missing, extracts it in worker processes, and stores it."""

from __future__ import annotations

import os
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import closing, nullcontext
from pathlib import Path

from ..cache.clips import Clip
from ..cache.keys import FeatureKey
from ..cache.rows import Row, Source
from ..cache.store import FeatureStore
from ..cache.writer import StoreWriter
from . import CLIP_TIMEOUT
from .clip import ClipJob, ClipResult, extract_clip, failed, read_source
from .crew import Crew
from .devices import torch_devices
from .errors import DeviceError, ExtractError
from .memory import SHARE, usable_memory
from .plan import Plan
from .processes import ProcessDied, ProcessHung, ProcessTooLarge
from .progress import OnProgress
from .spool import OnDisk, spool_folder
from .stopwatch import NETWORK, OPEN, WRITE, Stopwatch
from .streams.faces import FACES
from .streams.registry import keys_of

DEVICE_ERRORS = 3  # errors in a row, per worker, after which the device must be at fault, not the clips


class Extraction:
    """The extraction of everything that a plan requires and a store lacks.

    Args:
        clips: all clips of the data set.
        plan: the settings.
        store: store to add to; streams it already has are not extracted again.
        workers: number of worker processes; 0 for one per core.
        in_process: whether to work in this process, one clip after another. A clip that crashes its decoder
            then ends this process, so use it only for debugging and trusted clips.
        crew: processes from :func:`start_crew` for as many clips; None starts processes on demand.
        rename: whether to keep the features of a file whose id or split has changed, under its new one.
        replace: whether files with other labels may replace stored clips with the same ids.
        cores: number of processor cores to use; 0 for all that this process may use.
        silence: seconds without progress on a clip (a block of its file, a packet, a frame, a block of sound)
            after which the clip fails and its process is killed; 0 for no limit. The total time of a clip is
            not limited.
        memory: total bytes that the workers may hold. If they exceed it, the largest is killed, and its clip
            is retried at the end with nothing else running. None for most of the free memory; 0 for no limit.
        failed_only: whether to work only on stored clips that failed.
        network_processes: whether networks run in processes of their own, one per device, instead of in the
            workers; None: only if the device is not the CPU.

    Raises:
        ExtractError: the plan names something that does not exist, or a stored id now names a file with
            another label.

    Attributes:
        plan: the settings.
        keys: stream → key, for all streams of the plan.
        jobs: clips with missing streams.
        renewed: stored clips whose label, subject, session or path has changed in the manifest.
        renamed: stored rows whose files have another id or split now, with their new clips.
        duplicates: stored clips to remove, because their files are also stored under their current ids.
        replaced: pairs of stored and current clip whose file contents differ.
        gone: stored clips whose files are missing; their features are kept.
        changes: why stored streams must be extracted again: stream → ``setting: old / new`` lines.
        workers: number of worker processes.
        threads: number of threads per worker.
        on_progress: callback that may be set; with one worker, a thread calls it during the work on a clip.
        watch: stopwatch with the time spent on writing.
        silence: seconds without progress after which a clip fails.
    """

    def __init__(
        self,
        clips: Iterable[Clip],
        plan: Plan,
        store: FeatureStore,
        workers: int = 0,
        rename: bool = False,
        replace: bool = False,
        in_process: bool = False,
        crew: Crew | None = None,
        cores: int = 0,
        silence: float = CLIP_TIMEOUT,
        memory: int | None = None,
        failed_only: bool = False,
        network_processes: bool | None = None,
    ) -> None:
        self.plan = plan
        self.on_progress: OnProgress | None = None
        self.keys = keys_of(plan)
        self._store = store
        self.watch = Stopwatch()
        self._in_process = in_process
        self._given_crew = crew
        self._device_errors = 0
        self.silence = silence
        self._memory = _free_memory() if memory is None else memory
        self.jobs: list[ClipJob] = []
        self.renewed: list[Clip] = []
        self.renamed: list[tuple[Row, Clip]] = []
        self.duplicates: list[Clip] = []
        self.replaced: list[tuple[Clip, Clip]] = []
        self.gone: list[Clip] = []
        self._touched: dict[Clip, Source] = {}
        self.changes: dict[str, list[str]] = {}
        clips = list(clips)
        former = self._former_rows(clips) if rename else {}
        for clip in clips:
            row = store.row(clip)
            if not failed_only or (row is not None and row.failures):
                self._consider(clip, former.get(clip.path, []))
        if not replace:
            self._refuse_replacements()
        self.jobs.sort(key=lambda job: _size(job.clip.path), reverse=True)  # long clips first
        self._cores = cores or usable_cores()
        self._devices = _network_devices(plan, network_processes)
        self.workers = 1 if in_process else _worker_count(workers, len(self.jobs), self._cores)
        self.threads = max(1, self._cores // self.workers)

    @property
    def idle(self) -> bool:
        """Whether there is nothing to extract and nothing to write."""
        return not (self.jobs or self.renamed or self.duplicates or self.renewed or self._touched)

    def __iter__(self) -> Iterator[ClipResult]:
        """Extract the clips, yielding each result after it has been passed to the store.

        Leaving early, even by an error or Ctrl-C, keeps every result yielded so far.
        """
        with spool_folder(self._store.path) as spool, self._store.writer() as writer:
            self._settle(writer)
            for result in self._results(spool):
                with self.watch.stage(WRITE):
                    self._store_result(writer, result)
                yield result
            with self.watch.stage(WRITE):
                writer.flush()

    def settle(self) -> None:
        """Record renamed and relabelled clips only; the jobs are done elsewhere."""
        with self._store.writer() as writer:
            self._settle(writer)

    def _settle(self, writer: StoreWriter) -> None:
        for row, clip in self.renamed:
            writer.rename(row, clip)
        for clip in self.duplicates:
            writer.remove(clip)
        for clip in dict.fromkeys((*self.renewed, *self._touched)):
            writer.add(clip, self._touched.get(clip), {})

    def _former_rows(self, clips: Sequence[Clip]) -> dict[str, list[Row]]:
        """Return, by path, the stored rows of files of ``clips`` under ids that none of ``clips`` has.

        A labelled row is not matched to an unlabelled clip, so that no label is lost.
        """
        keys, by_path = {clip.key for clip in clips}, {clip.path: clip for clip in clips}
        found: dict[str, list[Row]] = defaultdict(list)
        for row in self._store.beside(keys):
            clip = by_path.get(row.clip.path)
            if clip and (clip.label or not row.clip.label):
                found[clip.path].append(row)
        return found

    def _consider(self, clip: Clip, former: Sequence[Row]) -> None:
        row = self._store.row(clip)
        if row is None and former:
            row, *former = former
            self.renamed.append((row, clip))
        self.duplicates += [other.clip for other in former]
        if row is None or row.source is None:
            self.jobs.append(ClipJob(clip, self.keys))
            return
        current = _current_source(row.source, clip)
        if current is None:
            self.gone.append(clip)
        elif current.sha256 != row.source.sha256:
            self.replaced.append((row.clip, clip))
            self.jobs.append(ClipJob(clip, self.keys))
            return
        elif current != row.source:
            self._touched[clip] = (
                current  # only its date has changed: store that, so that it is not read again
            )
        missing = {
            stream: key
            for stream, key in self.keys.items()
            if not is_done(row, stream, key) and not (current is None and _has_outcome(row, stream))
        }
        for stream, key in missing.items():
            entry = row.entries.get(stream)
            if entry is not None and entry.key != key:
                self.changes.setdefault(stream, entry.key.differences(key))
        if missing:
            faces = None if FACES in missing or not row.has(FACES) else self._store.read(row, FACES)
            changes = row.entries[FACES].info.get("pictures", ()) if faces is not None else ()
            self.jobs.append(ClipJob(clip, missing, faces, changes))
        elif row.clip.key == clip.key and row.clip != clip:
            self.renewed.append(clip)

    def _refuse_replacements(self) -> None:
        replacements = [(old, new) for old, new in self.replaced if old.label not in (None, new.label)]
        if replacements:
            old, new = replacements[0]
            more = f" (and {len(replacements) - 1} more like it)" if len(replacements) > 1 else ""
            raise ExtractError(
                f"{old} is stored as {old.path}, {old.label}, but is another file here, {new.path}, "
                f"{new.label or 'without a label'}{more}. Use another --store for this folder, or give its "
                "clips other ids in a manifest; avemo-extract --replace overwrites the stored clips"
            )

    def _results(self, spool: Path) -> Iterator[ClipResult]:
        """Yield results as they arrive. An untrusted file may crash its decoder, so workers open it."""
        if self._in_process:
            for job in self.jobs:
                yield extract_clip(self.plan, job, spool, self.threads, self.on_progress)
            return
        if not self.jobs:
            return
        to_retry: list[ClipJob] = []
        with nullcontext(self._given_crew) if self._given_crew else closing(self._crew()) as crew:
            yield from self._run_parallel(crew, spool, to_retry)
            if to_retry:
                crew.restart_with_one_worker()
            for job in to_retry:  # it may have run out of memory: now it runs alone
                yield self._run_alone(crew, job, spool)

    def _run_parallel(self, crew: Crew, spool: Path, to_retry: list[ClipJob]) -> Iterator[ClipResult]:
        """Work through the jobs; collect those whose process or device failed in ``to_retry``."""
        waiting = deque(self.jobs)
        running: dict[Future[ClipResult], ClipJob] = {}
        while waiting or running:
            while waiting and len(running) <= self.workers:  # results must not pile up in memory
                job = waiting.popleft()
                running[self._submit(crew, job, spool)] = job
            for future in crew.wait(running):
                job = running.pop(future)
                try:
                    result = future.result()
                except ProcessHung as error:
                    yield self._hung(job, error)
                except ProcessDied:
                    to_retry.append(job)
                except DeviceError as error:
                    to_retry.append(job)
                    self._count_device_error(error)
                else:
                    self._device_errors = 0
                    yield result

    def _run_alone(self, crew: Crew, job: ClipJob, spool: Path) -> ClipResult:
        future = self._submit(crew, job, spool)
        crew.wait([future])
        try:
            result = future.result()
        except ProcessHung as error:
            return self._hung(job, error)
        except ProcessTooLarge as error:
            why = f"took more than the {self._memory / 1e9:.1f} GB of memory available to it"
            return _process_failure(job, error, f"{why}; scale it down, or use a larger machine")
        except ProcessDied as error:
            why = "crashed its process (out of memory, or a decoder's fault); convert or replace it"
            return _process_failure(job, error, why)
        except DeviceError as error:
            self._count_device_error(error)
            return failed(job, NETWORK, f"the device failed on it twice ({error}); try --device cpu")
        self._device_errors = 0
        return result

    def _hung(self, job: ClipJob, error: ProcessHung) -> ClipResult:
        return _process_failure(job, error, f"no progress for {self.silence:g} s (--clip-timeout)")

    def _count_device_error(self, error: DeviceError) -> None:
        """Raise if the device fails for every clip. One device error can reach all workers at once."""
        self._device_errors += 1
        if self._device_errors > DEVICE_ERRORS * self.workers:
            devices = ", ".join(torch_devices(self.plan.device))
            raise ExtractError(
                f"the device {devices} failed {self._device_errors} times in a row, last: {error}; finished "
                "clips are stored: check the device or use --device cpu, then run the same command again"
            ) from error

    def _submit(self, crew: Crew, job: ClipJob, spool: Path) -> Future[ClipResult]:
        return crew.submit(job, spool, self.threads, self._report_progress)

    def _report_progress(self, stage: str, step: str, seconds: float, length: float) -> None:
        if self.on_progress is not None and self.workers == 1:
            self.on_progress(stage, step, seconds, length)

    def _crew(self) -> Crew:
        return Crew(self.plan, self.workers, self._cores, self.silence, self._memory, self._devices)

    def _store_result(self, writer: StoreWriter, result: ClipResult) -> None:
        if FACES in result.streams and result.warnings:
            faces = result.streams[FACES]
            faces.info = {**faces.info, "warning": "; ".join(result.warnings)}
        writer.add(result.job.clip, result.source, result.streams)
        # Long arrays are kept in files until the shard is written: write it now, so that they can be removed.
        arrays = [array for outcome in result.streams.values() for array in outcome.arrays.values()]
        files = {array.path for array in arrays if isinstance(array, OnDisk) and array.filename}
        if files:
            writer.flush()
        for file in files:
            file.unlink(missing_ok=True)


def start_crew(plan: Plan, workers: int, clips: int, silence: float = CLIP_TIMEOUT) -> Crew:
    """Start the processes for a run over ``clips`` clips; return when one of them is ready.

    Raises:
        ExtractError: a network, its weights or the detector cannot be used.
    """
    cores = usable_cores()
    count = _worker_count(workers, clips, cores)
    crew = Crew(plan, count, cores, silence, _free_memory(), _network_devices(plan))
    try:
        crew.start()
    except BaseException:
        crew.close()
        raise
    return crew


def _free_memory() -> int:
    return int(SHARE * usable_memory())


def _process_failure(job: ClipJob, error: ProcessDied, reason: str) -> ClipResult:
    """Return the result of a clip that made its process end."""
    stage = str(error.last_message[0]) if error.last_message else OPEN
    return failed(job, stage, f"{stage}: {reason}")


def is_done(row: Row, stream: str, key: FeatureKey) -> bool:
    """Whether a clip's stored stream is up to date and did not fail."""
    entry = row.entries.get(stream)
    return entry is not None and entry.key == key and entry.status != "failed"


def _has_outcome(row: Row, stream: str) -> bool:
    """Whether the clip has a stored outcome that another attempt could lose."""
    return stream in row.entries and row.entries[stream].status != "failed"


def _current_source(stored: Source, clip: Clip) -> Source | None:
    """Return the current state of a clip's file, read only if date or size changed; None if unreadable."""
    path = Path(clip.path)
    try:
        stat = path.stat()
        if (stat.st_size, stat.st_mtime_ns) == (stored.size, stored.mtime_ns):
            return stored
        return read_source(path)
    except OSError:
        return None


def _size(path: str) -> int:
    try:
        return Path(path).stat().st_size
    except OSError:
        return 0


def usable_cores() -> int:
    """Return the number of processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _worker_count(workers: int, jobs: int, cores: int) -> int:
    return max(1, min(workers or cores, jobs))


def _network_devices(plan: Plan, network_processes: bool | None = None) -> tuple[str, ...]:
    """Return the devices on which networks run in processes of their own."""
    devices = torch_devices(plan.device)
    return devices if network_processes or (network_processes is None and devices != ("cpu",)) else ()
