"""Minimum cost of extraction: the bare network and the bare detector, with all cores busy.

The inputs are prepared in processes that have already started, so only these two are timed: no decoding, no
alignment, no views, no statistics, no sound, no store.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from machine import environment

from avemo.extract.backbones import get
from avemo.extract.precision import Precision, dtype_of, prepare

BATCHES = (18, 36, 72, 144)
TRIAL_SECONDS = 1.5

PATIENT = {"OMP_WAIT_POLICY": "PASSIVE"}
"""Threads that wait for each other must not spin: beside other work they would be tens of times slower."""


class Cost(NamedTuple):
    """Wall seconds, and seconds of processor time over all processes."""

    wall: float
    busy: float

    def __str__(self) -> str:
        return f"{self.wall:.1f} s (busy {self.busy:.1f})"


class Crew:
    """Processes that hold the inputs of their work; use it as a context manager.

    ``begin(*arguments)`` runs once in each process, before the constructor returns.
    """

    def __init__(self, processes: int, begin: Callable[..., None], *arguments: Any) -> None:
        context = multiprocessing.get_context("spawn")
        ready = context.Barrier(processes + 1)
        with environment(**PATIENT):
            self._pool = context.Pool(processes, _begin, (ready, begin, arguments))
        ready.wait()

    def __enter__(self) -> Crew:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.terminate()
        self._pool.join()

    def work(self, job: Callable[[Any], float], parts: Iterable[Any]) -> Cost:
        """Time ``job`` on all ``parts``; it returns its own processor time."""
        start = time.perf_counter()
        busy = sum(self._pool.imap_unordered(job, parts))
        return Cost(time.perf_counter() - start, busy)


def _begin(ready: Any, begin: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    begin(*arguments)
    ready.wait()


_held: dict[str, Any] = {}


@dataclass(frozen=True)
class Layout:
    """The fastest arrangement of the network."""

    processes: int
    threads: int
    batch: int
    views_per_second: float

    def __str__(self) -> str:
        return (
            f"{self.processes} processes of {self.threads} threads, batch {self.batch} "
            f"({self.views_per_second:.0f} views/s)"
        )


class BareNetwork:
    """A network with random weights in the form that avemo runs, on views made beforehand."""

    def __init__(self, name: str, precision: Precision, cores: int) -> None:
        self.layout = max(
            (
                layout
                for processes, threads in {(cores, 1), (1, cores)}
                for layout in _trials(name, precision, processes, threads)
            ),
            key=lambda layout: layout.views_per_second,
        )
        layout = self.layout
        self._crew = Crew(layout.processes, _hold_network, name, precision, layout.threads, [layout.batch])

    def __enter__(self) -> BareNetwork:
        return self

    def __exit__(self, *_: object) -> None:
        self._crew.__exit__()

    def cost(self, views: int) -> Cost:
        """Time at least ``views`` views, in full batches."""
        batch = self.layout.batch
        return self._crew.work(_forward, [(batch, 1)] * -(-views // batch))


def _trials(name: str, precision: Precision, processes: int, threads: int) -> list[Layout]:
    layouts = []
    with Crew(processes, _hold_network, name, precision, threads, BATCHES) as crew:
        for batch in BATCHES:
            one = crew.work(_forward, [(batch, 1)] * processes).wall
            rounds = max(1, round(TRIAL_SECONDS / one))
            seconds = crew.work(_forward, [(batch, 1)] * (processes * rounds)).wall
            layouts.append(Layout(processes, threads, batch, processes * rounds * batch / seconds))
    return layouts


def _hold_network(name: str, precision: Precision, threads: int, batches: Iterable[int]) -> None:
    torch.set_num_threads(threads)
    spec = get(name)
    _held["network"] = prepare(spec.build(), "cpu", precision)
    for batch in batches:
        views = torch.rand(batch, 3, spec.input_size, spec.input_size).to(dtype_of(precision))
        _held[f"views {batch}"] = views.to(memory_format=torch.channels_last)
        _forward((batch, 1))


@torch.inference_mode()
def _forward(part: tuple[int, int]) -> float:
    batch, times = part
    start = time.process_time()
    for _ in range(times):
        _held["network"](_held[f"views {batch}"])
    return time.process_time() - start


class BareDetector:
    """dlib's HOG detector, upsampled once, on grey frames decoded beforehand."""

    def __init__(self, frames: list[np.ndarray], cores: int) -> None:
        self._count = len(frames)
        self._crew = Crew(cores, _hold_frames, frames)

    def __enter__(self) -> BareDetector:
        return self

    def __exit__(self, *_: object) -> None:
        self._crew.__exit__()

    def cost(self) -> Cost:
        """Time the detection in all frames."""
        return self._crew.work(_detect, range(self._count))


def _hold_frames(frames: list[np.ndarray]) -> None:
    import dlib  # may be missing on a bare machine with a GPU

    _held["frames"] = frames
    _held["detector"] = dlib.get_frontal_face_detector()
    _detect(0)


def _detect(index: int) -> float:
    start = time.process_time()
    _held["detector"](_held["frames"][index], 1)
    return time.process_time() - start
