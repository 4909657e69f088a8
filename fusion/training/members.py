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

Progress = Callable[[int], None]  # called with the number of epochs done, over all fits


class TrainAll(Protocol):
    """A function that trains all tasks, like :func:`train_all`, possibly on other machines."""

    def __call__(
        self, corpus: Corpus, tasks: Sequence[Task], /, *, progress: Progress, stacked: bool | None = None
    ) -> Iterator[tuple[int, Trained]]:
        """Yield the index of each task and its result as it completes."""


WORTH_PROCESSES = 50_000  # passes of a clip: 10 to 60 s on one core; processes take 3 to 6 s to start


def train_all(
    corpus: Corpus,
    tasks: Sequence[Task],
    workers: int = 0,
    progress: Progress = lambda done: None,
    stacked: bool | None = None,
) -> Iterator[tuple[int, Trained]]:
    """Train all tasks, yielding the index of each in ``tasks`` and its result as it completes.

    On a CPU, results are bit-identical for any number of workers, and equal up to rounding if stacked. On a
    GPU they are equal up to rounding, since its kernels do not sum in a fixed order. Closing the generator
    stops the work.

    Args:
        corpus: the clips.
        tasks: members to train.
        workers: processes; 0 for one per core if the work justifies their start-up, and one on a GPU.
        progress: called from time to time with the total number of epochs done.
        stacked: train compatible members as one model (see :mod:`.stack`); None for yes on a GPU and no on a
            CPU, where a single head keeps the cores busy. Heads that are not ``stackable`` train singly.
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
    """Return one process per core, or a single one for little work or on a GPU."""
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
    """Report the sum of ``counts`` to ``progress`` five times a second."""
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
