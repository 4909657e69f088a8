"""The process that runs all networks on one device for the workers of a run.

Workers send requests over connections (:mod:`.apart`). One thread per worker receives them into pinned
memory, from which a GPU copies by itself. Requests are batched in order of arrival; if the frames of one do
not fill a batch, those of the next request follow, of the same clip or another. Copies to and from a GPU have
CUDA streams of their own, so the next batch is copied while one is computed; at most two are under way. Views
are warped and reduced to statistics on the device: pixels go in, vectors come out.

The queue is bounded, because a worker may have only :data:`.apart.IN_FLIGHT` requests pending.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cache
from multiprocessing import AuthenticationError
from multiprocessing.connection import Connection, Listener
from pathlib import Path
from threading import Condition, Semaphore, Thread
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..cache.keys import FeatureKey
from .apart import Endpoint, NetworkCall
from .clip import reason_of, require_same_keys
from .device_errors import InBatches
from .errors import ClipError, DeviceError
from .networks import audio_networks, face_networks, segment_networks, views_at_once
from .patch import inverses
from .plan import Plan
from .views import SharedViews
from .warp import warp_cpu, warp_device

HEARTBEAT = 1.0  # seconds between signs of life of an idle process
UNDER_WAY = 2  # batches: one being computed, and one whose results are being sent

Notify = Callable[..., None]


def serve(
    plan: Plan, keys: Mapping[str, FeatureKey], endpoint: Endpoint, threads: int, notify: Notify
) -> None:
    """Run the networks of a plan on a device until this process is ended.

    Args:
        plan: the settings; only the device of ``endpoint`` is used.
        keys: keys of the run's streams, which the networks loaded here must match.
        endpoint: endpoint to listen on.
        threads: number of threads for computation on the CPU.
        notify: called with ``"ready"`` once the networks are loaded, then without arguments, as a sign of
            life.

    Raises:
        DeviceError: the device failed.
        ExtractError: the networks cannot be used.
    """
    torch.set_num_threads(threads)
    device = torch.device(endpoint.device)
    if device.type == "cuda":
        device = torch.device("cuda", device.index or 0)
        torch.cuda.set_device(device)
    plan = replace(plan, device=str(device))
    require_same_keys(plan, keys)
    try:
        service = _Service(plan)
    except RuntimeError as error:
        reason_of(error)  # raises DeviceError if the device failed
        raise
    if not endpoint.address.startswith("\0"):  # a killed process leaves its socket file behind
        with suppress(OSError):
            Path(endpoint.address).unlink()
    with Listener(endpoint.address, backlog=64, authkey=endpoint.secret) as listener:
        Thread(target=_accept_workers, args=(listener, service), daemon=True).start()
        notify("ready")
        service.work(notify)


def _accept_workers(listener: Listener, service: _Service) -> None:
    while True:
        try:
            Thread(target=_receive_requests, args=(listener.accept(), service), daemon=True).start()
        except (OSError, EOFError, AuthenticationError):  # a worker ended while connecting
            time.sleep(0.1)


def _receive_requests(connection: Connection, service: _Service) -> None:
    # The worker may be gone; its requests then go unanswered.
    with connection, suppress(EOFError, OSError):
        while True:
            number, call, shapes = connection.recv()
            arrays = []
            for dtype, shape in shapes:
                array = service.empty_array(dtype, shape)
                connection.recv_bytes_into(array.reshape(-1).view(np.uint8))
                arrays.append(array)
            service.put(_Request(connection, number, call, arrays))


@dataclass(eq=False)
class _Request:
    """A worker's request.

    Attributes:
        connection: connection to the worker.
        number: number of the request on this connection.
        call, arrays: arguments of :meth:`.apart.NetworkClient.submit`.
        frames_batched: number of its frames that are in batches so far.
        parts: statistics of its frames computed so far, in order.
        seconds: time the device spent on it.
        failed: whether it was answered by an error.
    """

    connection: Connection
    number: int
    call: NetworkCall
    arrays: list[np.ndarray]
    frames_batched: int = 0
    parts: list[np.ndarray] = field(default_factory=list)
    seconds: float = 0.0
    failed: bool = False

    def reply(self, error: Exception | None, value: Any = None) -> None:
        with suppress(OSError):  # the worker is gone
            self.connection.send((self.number, error, value, self.seconds))


@dataclass(frozen=True, eq=False)
class _Part:
    """The frames of a request that are in one batch."""

    request: _Request
    start: int
    stop: int


class _Service:
    """The networks on one device and the queue of requests."""

    def __init__(self, plan: Plan) -> None:
        self._faces = {network.label: network for network in face_networks(plan)}
        self._images = {network.label: network for network in segment_networks(plan)}
        self._sounds = {network.label: network for network in audio_networks(plan)}
        self._batch = views_at_once(plan)
        self._copies = _Copies(torch.device(plan.device))
        self._in_batches = InBatches()
        self._queue: deque[_Request] = deque()
        self._changed = Condition()
        self._sender = ThreadPoolExecutor(1)
        self._under_way = Semaphore(UNDER_WAY)
        self._device_error: DeviceError | None = None
        self._last_end = 0.0
        self._views_of = cache(self._shared_views)
        for network in (*self._faces.values(), *self._images.values()):  # the very first batch is slow
            network(torch.zeros(1, network.spec.input_size, network.spec.input_size, 3, dtype=torch.uint8))

    def empty_array(self, dtype: str, shape: tuple[int, ...]) -> np.ndarray:
        """Return an array to receive into; see :meth:`_Copies.empty_array`."""
        return self._copies.empty_array(dtype, shape)

    def put(self, request: _Request) -> None:
        """Add a request to the queue."""
        with self._changed:
            self._queue.append(request)
            self._changed.notify()

    def work(self, notify: Notify) -> None:
        """Answer requests until the device fails."""
        while self._device_error is None:
            notify()
            parts = self._next_batch()
            if parts:
                self._under_way.acquire()
                started = time.perf_counter()
                self._sender.submit(self._finish, parts, self._start_batch(parts), started)
        self._sender.shutdown()
        raise self._device_error

    def _next_batch(self) -> list[_Part]:
        """Return the next batch: frames of one or more requests for views, else one whole request."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._queue, HEARTBEAT):
                return []
            call = self._queue[0].call
            if call.kind != "views":
                request = self._queue.popleft()
                return [_Part(request, 0, 1)]
            parts: list[_Part] = []
            room = -(-self._batch // len(self._views_of(call).matrices))
            for request in [request for request in self._queue if request.call == call]:
                start, request.frames_batched = (
                    request.frames_batched,
                    min(request.frames_batched + room, len(request.arrays[0])),
                )
                parts.append(_Part(request, start, request.frames_batched))
                room -= request.frames_batched - start
                if request.frames_batched == len(request.arrays[0]):
                    self._queue.remove(request)
                if not room:
                    break
            return parts

    def _start_batch(self, parts: Sequence[_Part]) -> Callable[[], Any]:
        """Start computing a batch; return a function that waits for the result."""
        request = parts[0].request
        label = request.call.label
        try:
            if request.call.kind == "views":
                return self._copies.to_host(self._statistics(parts))
            if request.call.kind == "images":
                return self._copies.to_host(self._images[label].on_device(request.arrays[0]))
            vectors, times = self._sounds[label](request.arrays[0])
            found = vectors.numpy(), times.numpy()
            return lambda: found
        except Exception as error:
            return _raising(error)

    def _finish(self, parts: Sequence[_Part], result: Callable[[], Any], started: float) -> None:
        """Wait for a batch and answer the requests that are complete."""
        try:
            value = result()
            seconds = self._device_seconds(started)
        except Exception as error:
            self._fail({part.request for part in parts}, error)
            return
        finally:
            self._under_way.release()
        if parts[0].request.call.kind != "views":
            parts[0].request.seconds = seconds
            parts[0].request.reply(None, value)
            return
        done = 0
        for part in parts:
            request, count = part.request, part.stop - part.start
            request.parts.append(value[done : done + count])
            request.seconds += seconds * count / len(value)
            done += count
            if sum(map(len, request.parts)) == len(request.arrays[0]) and not request.failed:
                request.reply(None, np.concatenate(request.parts))

    def _device_seconds(self, started: float) -> float:
        """Return the device time of a batch that is done now: since its start or the previous batch's end."""
        before, self._last_end = self._last_end, time.perf_counter()
        return self._last_end - max(before, started)

    def _fail(self, requests: set[_Request], error: Exception) -> None:
        failure: Exception
        try:
            failure = ClipError(reason_of(error))
        except DeviceError as device_error:
            failure = self._device_error = device_error
        for request in requests:
            if not request.failed:
                request.failed = True
                request.reply(failure)

    @torch.inference_mode()
    def _statistics(self, parts: Sequence[_Part]) -> Tensor:
        """Compute the statistics ``[T, S, D]`` of the T frames of a batch, on the device."""
        call = parts[0].request.call
        network, views = self._faces[call.label], self._views_of(call)
        size, device = network.spec.input_size, self._copies.device
        matrices = np.concatenate([part.request.arrays[1][part.start : part.stop] for part in parts])
        blocks = [part.request.arrays[0][part.start : part.stop] for part in parts]
        if device.type == "cpu":
            flat = [frame for block in blocks for frame in block]

            def warp_rows(rows: slice) -> Tensor:
                pairs = zip(flat[rows], matrices[rows], strict=True)
                return torch.from_numpy(np.concatenate([warp_cpu(*pair, size) for pair in pairs]))

        else:
            back, *on_device = self._copies.to_device([inverses(matrices).astype(np.float32), *blocks])
            frames = _one_block(on_device)

            def warp_rows(rows: slice) -> Tensor:
                return warp_device(frames[rows], back[rows], size)

        def compute(numbers: Tensor) -> Tensor:
            rows = slice(int(numbers[0]), int(numbers[-1]) + 1)
            return views.reduced(network.on_device(warp_rows(rows)))

        return self._in_batches(compute, torch.arange(len(matrices)))

    def _shared_views(self, call: NetworkCall) -> SharedViews:
        spec = self._faces[call.label].spec
        return SharedViews(call.sets, spec.input_size, spec.window)


def _one_block(blocks: Sequence[Tensor]) -> Tensor:
    """Join blocks into one ``[T, H, W, 3]``, padded with black on the right and below."""
    if len(blocks) == 1:
        return blocks[0]
    height, width = (max(block.shape[axis] for block in blocks) for axis in (1, 2))
    whole = blocks[0].new_zeros(sum(map(len, blocks)), height, width, 3)
    done = 0
    for block in blocks:
        whole[done : done + len(block), : block.shape[1], : block.shape[2]] = block
        done += len(block)
    return whole


def _raising(error: Exception) -> Callable[[], Any]:
    def result() -> Any:
        raise error

    return result


class _Copies:
    """Copies to a device and back; on CUDA by pinned memory and separate streams."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._cuda = device.type == "cuda"
        if self._cuda:
            # torch does not annotate these
            self._upload_stream, self._download_stream = torch.cuda.Stream(device), torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def empty_array(self, dtype: str, shape: tuple[int, ...]) -> np.ndarray:
        """Return an array that can be copied to the device without blocking the CPU.

        Keep it alive until the copy is done.
        """
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        return torch.empty(size, dtype=torch.uint8, pin_memory=self._cuda).numpy().view(dtype).reshape(shape)

    def to_device(self, arrays: Sequence[np.ndarray]) -> list[Tensor]:
        """Copy arrays to the device; whatever is computed afterwards waits for them."""
        tensors = [torch.from_numpy(array) for array in arrays]
        if not self._cuda:
            return [tensor.to(self.device) for tensor in tensors]
        computing = torch.cuda.current_stream(self.device)
        with torch.cuda.stream(self._upload_stream):
            on_device = [
                (tensor if tensor.is_pinned() else tensor.pin_memory()).to(self.device, non_blocking=True)
                for tensor in tensors
            ]
        computing.wait_stream(self._upload_stream)
        for tensor in on_device:
            tensor.record_stream(computing)
        return on_device

    def to_host(self, result: Tensor) -> Callable[[], np.ndarray]:
        """Start copying a result that is being computed; return a function that waits for it."""
        if not self._cuda:
            found = result.cpu().numpy()
            return lambda: found
        self._download_stream.wait_stream(torch.cuda.current_stream(self.device))
        with torch.cuda.stream(self._download_stream):
            on_host = torch.empty(result.shape, dtype=result.dtype, pin_memory=True)
            on_host.copy_(result, non_blocking=True)
            copied = self._download_stream.record_event()
        result.record_stream(self._download_stream)

        def wait() -> np.ndarray:
            copied.synchronize()
            return on_host.numpy()

        return wait
