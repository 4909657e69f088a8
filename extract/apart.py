"""Networks that run in another process: the worker's side.

Each GPU has one process with the networks (:mod:`.network_process`), which serves all workers and fills its
batches with frames of several clips. A worker decodes, finds faces, crops the part of a frame that its views
show, and sends requests. It continues while at most :data:`IN_FLIGHT` of them are pending.
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
from .stopwatch import NETWORK, add_device_time, clocked, step

IN_FLIGHT = 4  # maximum pending requests of a worker to a device
HEARTBEAT = 0.2  # seconds between signs of life of a waiting worker


@dataclass(frozen=True)
class Endpoint:
    """The endpoint of a network process.

    Attributes:
        device: device it computes on.
        address: address of a socket on this machine.
        secret: key that authenticates workers of this run.
    """

    device: str
    address: str
    secret: bytes


@dataclass(frozen=True)
class NetworkCall:
    """A request to a network process.

    Attributes:
        kind: ``views``: from patches ``[T, H, W, 3]`` and matrices ``[T, V, 2, 3]`` (:func:`.patch.patch`) to
            the statistics of their views ``[T, S, D]`` (:class:`.views.SharedViews`); ``images``: from images
            ``[N, S, S, 3]`` to vectors ``[N, D]``; ``sound``: from a spectrogram to vectors and their times.
        label: label of the network.
        sets: names of view sets.
    """

    kind: Literal["views", "images", "sound"]
    label: str
    sets: tuple[str, ...] = ()


class NetworkClient:
    """Sends requests to the network processes of a run, each to the one with the fewest pending from here."""

    def __init__(self, endpoints: Sequence[Endpoint]) -> None:
        self._connections = [_EndpointConnection(endpoint) for endpoint in endpoints]

    @clocked(NETWORK)
    def submit(self, call: NetworkCall, *arrays: np.ndarray) -> Future[Any]:
        """Send a request and return its future, for :meth:`answer`.

        Waits until a network process has started and has room for another request. The future raises
        :class:`DeviceError` if the device fails or the process ends, and :class:`ClipError` if the network
        cannot be run on the arrays.
        """
        while True:
            free = [
                connection
                for connection in self._connections
                if len(connection.pending) < IN_FLIGHT and connection.open()
            ]
            if free:
                return min(free, key=lambda connection: len(connection.pending)).submit(call, arrays)
            pending = [
                future for connection in self._connections for future in list(connection.pending.values())
            ]
            if pending:
                concurrent.futures.wait(pending, HEARTBEAT, concurrent.futures.FIRST_COMPLETED)
            else:
                time.sleep(HEARTBEAT)
            step()

    @clocked(NETWORK)
    def result(self, future: Future[Any]) -> Any:
        """Wait for an answer, without a time limit: the main process watches over the network processes."""
        while True:
            with suppress(concurrent.futures.TimeoutError):
                value, seconds = future.result(HEARTBEAT)
                add_device_time(NETWORK, seconds)
                return value
            step()


class _EndpointConnection:
    """The connection to one network process, reopened after the process is restarted.

    Attributes:
        waiting: pending requests by number.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._connection: Connection | None = None
        self._numbers = count()
        self.pending: dict[int, Future[Any]] = {}

    def open(self) -> bool:
        """Connect if necessary; return whether there is a connection."""
        if self._connection is None:
            with suppress(OSError, EOFError):
                self._connection = Client(self._endpoint.address, authkey=self._endpoint.secret)
                Thread(target=self._listen, args=(self._connection,), daemon=True).start()
        return self._connection is not None

    def submit(self, call: NetworkCall, arrays: Sequence[np.ndarray]) -> Future[Any]:
        number, future = next(self._numbers), Future[Any]()
        self.pending[number] = future
        connection = self._connection
        try:
            if connection is None:
                raise EOFError
            connection.send((number, call, [(array.dtype.str, array.shape) for array in arrays]))
            for array in arrays:
                connection.send_bytes(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
        except (OSError, EOFError):
            self._fail_pending()
        return future

    def _listen(self, connection: Connection) -> None:
        try:
            while True:
                number, error, value, seconds = connection.recv()
                future = self.pending.pop(number)
                if error is None:
                    future.set_result((value, seconds))
                else:
                    future.set_exception(error)
        except (OSError, EOFError, KeyError):  # unknown number: the request was given up
            self._fail_pending()

    def _fail_pending(self) -> None:
        """Fail all pending requests: the process is gone."""
        self._connection = None
        while self.pending:
            with suppress(KeyError):  # both threads may get here
                _, future = self.pending.popitem()
                future.set_exception(DeviceError(f"the network process on {self._endpoint.device} ended"))


@dataclass(frozen=True)
class InputSpec:
    """A network's input size and window; see :class:`.backbones.spec.BackboneSpec`."""

    input_size: int
    window: tuple[float, float, float]


class RemoteBackbone:
    """A :class:`.backbones.Backbone` in another process."""

    def __init__(self, client: NetworkClient, planned: PlannedNetwork) -> None:
        self._client = client
        self.label = planned.label
        left, top, side = planned.settings["window"]
        self.spec = InputSpec(planned.settings["input_size"], (left, top, side))

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Return features ``[N, D]`` float32 of images ``[N, S, S, 3]`` uint8."""
        features: np.ndarray = self.result(self._client.submit(NetworkCall("images", self.label), images))
        return features

    def statistics(
        self, sets: tuple[str, ...], patches: np.ndarray, matrices: np.ndarray
    ) -> Future[np.ndarray]:
        """Request the statistics ``[T, S, D]`` of T frames; see :class:`NetworkCall`."""
        return self._client.submit(NetworkCall("views", self.label, sets), patches, matrices)

    def result(self, future: Future[np.ndarray]) -> np.ndarray:
        """Wait for the result of :meth:`statistics`."""
        rows: np.ndarray = self._client.result(future)
        return rows


class RemoteAudioBackbone:
    """A :class:`.backbones.AudioBackbone` in another process."""

    def __init__(self, client: NetworkClient, planned: PlannedNetwork) -> None:
        self._client = client
        self.label = planned.label

    def __call__(self, spectrogram: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return vectors ``[n, D]`` and their times ``[n]``."""
        call = NetworkCall("sound", self.label)
        vectors, times = self._client.result(self._client.submit(call, spectrogram))
        return vectors, times
