"""Training many members, side by side over processes where that pays."""

from __future__ import annotations

import signal
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from threading import Event, Thread

import numpy as np
from joblib import Parallel, cpu_count, delayed

from .corpus import Corpus
from .training import Job, Plan, Trained, resolve_device, train

Progress = Callable[[int], None]  # told how many epochs are done, over all jobs

WORTH_PROCESSES = 50_000  # clips through a head: 10 to 60 s of one core; processes take 3 to 6 to start


def train_all(
    corpus: Corpus, plan: Plan, jobs: Sequence[Job], workers: int = 0, progress: Progress = lambda done: None
) -> Iterator[tuple[int, Trained]]:
    """Train every job, yielding its place in ``jobs`` and its result as it comes.

    Results are the same bits with any number of workers. Leaving early stops the work.

    Args:
        corpus: the clips.
        plan: what the jobs have in common.
        jobs: the members to train.
        workers: processes; 0 for one a core if the work is worth their start, and one on a GPU.
        progress: told from time to time how many epochs are done, in all.
    """
    workers = min(workers or default_workers(plan, jobs), len(jobs))
    if workers > 1:
        yield from _in_processes(corpus, plan, jobs, workers, progress)
        return
    for place, job in enumerate(jobs):
        before = place * plan.training.epochs
        yield place, train(corpus, plan, job, partial(_count, progress, before))


def default_workers(plan: Plan, jobs: Sequence[Job]) -> int:
    """One process a core, or one in all where there is too little to do, or a GPU to do it."""
    passes = plan.training.epochs * sum(len(job.fit) for job in jobs)
    if resolve_device(plan.device) != "cpu" or passes < WORTH_PROCESSES:
        return 1
    return int(cpu_count())


def _count(progress: Progress, before: int, done: int) -> None:
    progress(before + done)


def _in_processes(
    corpus: Corpus, plan: Plan, jobs: Sequence[Job], workers: int, progress: Progress
) -> Iterator[tuple[int, Trained]]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "epochs"
        counts = np.memmap(path, dtype=np.int32, mode="w+", shape=(len(jobs),))
        parallel = Parallel(n_jobs=workers, batch_size=1, return_as="generator_unordered")
        with _polled(counts, progress):
            yield from parallel(
                delayed(_work)(corpus, plan, job, place, path) for place, job in enumerate(jobs)
            )


def _work(corpus: Corpus, plan: Plan, job: Job, place: int, path: Path) -> tuple[int, Trained]:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the main process, which stops this one
    counts = np.memmap(path, dtype=np.int32, mode="r+")

    def count(done: int) -> None:
        counts[place] = done

    return place, train(corpus, plan, job, count)


@contextmanager
def _polled(counts: np.memmap, progress: Progress) -> Iterator[None]:
    """Tell ``progress`` of the sum of ``counts`` five times a second."""
    finished = Event()

    def poll() -> None:
        while not finished.wait(0.2):
            progress(int(counts.sum()))

    thread = Thread(target=poll, daemon=True)
    thread.start()
    try:
        yield
    finally:
        finished.set()
        thread.join()
        progress(int(counts.sum()))
