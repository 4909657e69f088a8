"""Networks that run in another process, as a worker process sees them.

On a GPU each device has one process with the networks (:mod:`.network_process`), which serves all workers: it
makes full batches of the frames of several clips. A worker decodes, finds faces, cuts out what the views are
made of, and asks; it goes on while it waits for answers, :data:`IN_FLIGHT` of them at most.
"""

from __future__ import annotations

import concurrent.futures
import time
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from multiprocessing.connection import Client, Connection
from threading import Thread
from typing import Any, Literal

import numpy as np

from .backbones.planned import PlannedNetwork
from .errors import DeviceError
from .stopwatch import NETWORK, clocked, computed_apart, step

IN_FLIGHT = 4  # requests of a worker to a device that are not answered yet
SIGN = 0.2  # seconds between signs of life of a worker that waits


@dataclass(frozen=True)
class Door:
    """Where a network process is asked.

    Attributes:
        device: that it computes on.
        address: of a socket on this machine.
        secret: proves that who asks belongs to the run.
    """

    device: str
    address: str
    secret: bytes


@dataclass(frozen=True)
class Question:
    """What is asked of a network process.

    Attributes:
        kind: ``views``: the statistics of views ``[T, S, D]`` (:class:`.views.SharedViews`), of patches
            ``[T, H, W, 3]`` and matrices ``[T, V, 2, 3]``, see :func:`.patch.patch`; ``images``: the vectors
            ``[N, D]`` of images ``[N, S, S, 3]``; ``sound``: the vectors of a spectrogram, and their times.
        label: the network's.
        sets: names of view sets.
    """

    kind: Literal["views", "images", "sound"]
    label: str
    sets: tuple[str, ...] = ()


class Apart:
    """Asks the network processes of a run: that which has the fewest requests of this worker."""

    def __init__(self, doors: Sequence[Door]) -> None:
        self._lines = [_Line(door) for door in doors]

    @clocked(NETWORK)
    def ask(self, question: Question, *arrays: np.ndarray) -> Future[Any]:
        """The answer to be, for :meth:`answer`. This waits while a network process is yet to start, or has
        enough to do.

        The future raises :class:`DeviceError` if the device fails or the process ends, and :class:`ClipError`
        if the network cannot be run on what was sent.
        """
        while True:
            free = [line for line in self._lines if len(line.waiting) < IN_FLIGHT and line.open()]
            if free:
                return min(free, key=lambda line: len(line.waiting)).ask(question, arrays)
            waiting = [future for line in self._lines for future in list(line.waiting.values())]
            if waiting:
                concurrent.futures.wait(waiting, SIGN, concurrent.futures.FIRST_COMPLETED)
            else:
                time.sleep(SIGN)
            step()

    @clocked(NETWORK)
    def answer(self, future: Future[Any]) -> Any:
        """Wait for an answer, as long as it takes: whether the process gets on, the main process sees."""
        while True:
            with suppress(concurrent.futures.TimeoutError):
                value, seconds = future.result(SIGN)
                computed_apart(NETWORK, seconds)
                return value
            step()


class _Line:
    """The connection to one network process; it is made anew when the process was.

    Attributes:
        waiting: by number, the requests that are not answered.
    """

    def __init__(self, door: Door) -> None:
        self._door = door
        self._connection: Connection | None = None
        self._numbers = count()
        self.waiting: dict[int, Future[Any]] = {}

    def open(self) -> bool:
        """Whether there is a connection, or can be one now."""
        if self._connection is None:
            with suppress(OSError, EOFError):
                self._connection = Client(self._door.address, authkey=self._door.secret)
                Thread(target=self._listen, args=(self._connection,), daemon=True).start()
        return self._connection is not None

    def ask(self, question: Question, arrays: Sequence[np.ndarray]) -> Future[Any]:
        number, future = next(self._numbers), Future[Any]()
        self.waiting[number] = future
        connection = self._connection
        try:
            if connection is None:
                raise EOFError
            connection.send((number, question, [(array.dtype.str, array.shape) for array in arrays]))
            for array in arrays:
                connection.send_bytes(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
        except (OSError, EOFError):
            self._break()
        return future

    def _listen(self, connection: Connection) -> None:
        try:
            while True:
                number, error, value, seconds = connection.recv()
                future = self.waiting.pop(number)
                if error is None:
                    future.set_result((value, seconds))
                else:
                    future.set_exception(error)
        except (OSError, EOFError, KeyError):  # no such number: it was given up
            self._break()

    def _break(self) -> None:
        """The process is gone, and with it what it was asked."""
        self._connection = None
        while self.waiting:
            with suppress(KeyError):  # both threads may notice
                _, future = self.waiting.popitem()
                future.set_exception(DeviceError(f"the process of the networks on {self._door.device} ended"))


@dataclass(frozen=True)
class Framing:
    """How a network sees a face; see :class:`.backbones.spec.BackboneSpec`."""

    input_size: int
    window: tuple[float, float, float]


class ApartBackbone:
    """A :class:`.backbones.Backbone` in another process."""

    def __init__(self, apart: Apart, known: PlannedNetwork) -> None:
        self._apart = apart
        self.label = known.label
        left, top, side = known.settings["window"]
        self.spec = Framing(known.settings["input_size"], (left, top, side))

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """``[N, D]`` float32 features of ``[N, S, S, 3]`` uint8."""
        features: np.ndarray = self.answer(self._apart.ask(Question("images", self.label), images))
        return features

    def statistics(
        self, sets: tuple[str, ...], patches: np.ndarray, matrices: np.ndarray
    ) -> Future[np.ndarray]:
        """``[T, S, D]`` to be, of T frames; see :class:`Question`."""
        return self._apart.ask(Question("views", self.label, sets), patches, matrices)

    def answer(self, future: Future[np.ndarray]) -> np.ndarray:
        """What :meth:`statistics` promised."""
        answer: np.ndarray = self._apart.answer(future)
        return answer


class ApartAudioBackbone:
    """A :class:`.backbones.AudioBackbone` in another process."""

    def __init__(self, apart: Apart, known: PlannedNetwork) -> None:
        self._apart = apart
        self.label = known.label

    def __call__(self, spectrogram: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Vectors ``[n, D]`` and their times ``[n]``."""
        question = Question("sound", self.label)
        vectors, times = self._apart.answer(self._apart.ask(question, spectrogram))
        return vectors, times
