"""Trains many members, in several processes if that is faster."""

from __future__ import annotations

import signal
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from threading import Event, Thread
from typing import Protocol

import numpy as np
from joblib import Parallel, cpu_count, delayed

from ..features.corpus import Corpus
from ..heads.registry import head_class
from .stack import stackable, train_stack
from .training import Fit, Setup, Task, Trained, resolve_device, train

Progress = Callable[[int], None]  # told how many epochs are done, over all fits


class TrainAll(Protocol):
    """Trains every task, here or elsewhere, as :func:`train_all` does."""

    def __call__(
        self, corpus: Corpus, tasks: Sequence[Task], /, *, progress: Progress, stacked: bool | None = None
    ) -> Iterator[tuple[int, Trained]]:
        """The place of each task, and its result as it comes."""


WORTH_PROCESSES = 50_000  # clips through a head: 10 to 60 s of one core; processes take 3 to 6 to start


def train_all(
    corpus: Corpus,
    tasks: Sequence[Task],
    workers: int = 0,
    progress: Progress = lambda done: None,
    stacked: bool | None = None,
) -> Iterator[tuple[int, Trained]]:
    """Train every task, yielding its place in ``tasks`` and its result as it comes.

    On a CPU, results are the same bits with any number of workers, and the same up to rounding if stacked. On
    a GPU they are the same up to rounding: its kernels do not promise to add up in one order. Leaving early
    stops the work.

    Args:
        corpus: the clips.
        tasks: the members to train.
        workers: processes; 0 for one a core if the work is worth their start, and one on a GPU.
        progress: told from time to time how many epochs are done, in all.
        stacked: train those that can be as one, see :mod:`.stack`; None for on a GPU and not on a CPU, whose
            cores a single head keeps busy. Heads that are not ``stackable`` never are.
    """
    devices = {resolve_device(setup.device) for setup, _ in tasks}
    if stacked is None:
        stacked = "cpu" not in devices
    if stacked and all(head_class(setup.head.fusion).stackable for setup, _ in tasks):
        yield from _in_stacks(corpus, tasks, progress)
        return
    workers = min(workers or default_workers(tasks), len(tasks))
    if workers > 1:
        yield from _in_processes(corpus, tasks, workers, progress)
        return
    before = 0
    for place, (setup, fit) in enumerate(tasks):
        yield place, train(corpus, setup, fit, partial(_count, progress, before))
        before += setup.training.epochs


def default_workers(tasks: Sequence[Task]) -> int:
    """One process a core, or one in all where there is too little to do, or a GPU to do it."""
    passes = sum(
        setup.training.epochs * len(fit.fitted) * head_class(setup.head.fusion).cost for setup, fit in tasks
    )
    if passes < WORTH_PROCESSES or any(resolve_device(setup.device) != "cpu" for setup, _ in tasks):
        return 1
    return int(cpu_count())


def _in_stacks(corpus: Corpus, tasks: Sequence[Task], progress: Progress) -> Iterator[tuple[int, Trained]]:
    before = 0
    for places in stackable(corpus, tasks):
        group = [tasks[place] for place in places]
        for number, trained in train_stack(corpus, group, partial(_count, progress, before)):
            yield places[number], trained
        before += sum(setup.training.epochs for setup, _ in group)


def _count(progress: Progress, before: int, done: int) -> None:
    progress(before + done)


def _in_processes(
    corpus: Corpus, tasks: Sequence[Task], workers: int, progress: Progress
) -> Iterator[tuple[int, Trained]]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "epochs"
        counts = np.memmap(path, dtype=np.int32, mode="w+", shape=(len(tasks),))
        parallel = Parallel(n_jobs=workers, batch_size=1, return_as="generator_unordered")
        with _polled(counts, progress):
            yield from parallel(
                delayed(_work)(corpus, setup, fit, place, path) for place, (setup, fit) in enumerate(tasks)
            )


def _work(corpus: Corpus, setup: Setup, fit: Fit, place: int, path: Path) -> tuple[int, Trained]:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the main process, which stops this one
    counts = np.memmap(path, dtype=np.int32, mode="r+")

    def count(done: int) -> None:
        counts[place] = done

    return place, train(corpus, setup, fit, count)


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
