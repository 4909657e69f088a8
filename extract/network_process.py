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
from .apart import Door, Question
from .clip import reason_of, require_same_keys
from .device_errors import InBatches
from .errors import ClipError, DeviceError
from .networks import audio_networks, face_networks, segment_networks, views_at_once
from .patch import inverses
from .plan import Plan
from .views import SharedViews
from .warp import warp_cpu, warp_device

WORD = 1.0  # seconds between signs of life of an idle process
UNDER_WAY = 2  # batches: one being computed, and one whose results are being sent

Told = Callable[..., None]


def serve(plan: Plan, keys: Mapping[str, FeatureKey], door: Door, threads: int, tell: Told) -> None:
    """Run the networks of a plan on a device until this process is ended.

    Args:
        plan: the settings; only the device of ``door`` is used.
        keys: keys of the run's streams, which the networks loaded here must match.
        door: endpoint to listen on.
        threads: number of threads for computation on the CPU.
        tell: called with ``"ready"`` once the networks are loaded, then without arguments as a sign of life.

    Raises:
        DeviceError: the device failed.
        ExtractError: the networks cannot be used.
    """
    torch.set_num_threads(threads)
    device = torch.device(door.device)
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
    if not door.address.startswith("\0"):  # a killed process leaves its socket file behind
        with suppress(OSError):
            Path(door.address).unlink()
    with Listener(door.address, backlog=64, authkey=door.secret) as listener:
        Thread(target=_let_in, args=(listener, service), daemon=True).start()
        tell("ready")
        service.work(tell)


def _let_in(listener: Listener, service: _Service) -> None:
    while True:
        try:
            Thread(target=_read, args=(listener.accept(), service), daemon=True).start()
        except (OSError, EOFError, AuthenticationError):  # a worker ended while connecting
            time.sleep(0.1)


def _read(connection: Connection, service: _Service) -> None:
    # The worker may be gone; its requests then go unanswered.
    with connection, suppress(EOFError, OSError):
        while True:
            number, question, shapes = connection.recv()
            arrays = []
            for dtype, shape in shapes:
                array = service.room_for(dtype, shape)
                connection.recv_bytes_into(array.reshape(-1).view(np.uint8))
                arrays.append(array)
            service.put(_Request(connection, number, question, arrays))


@dataclass(eq=False)
class _Request:
    """A worker's request.

    Attributes:
        connection: connection to the worker.
        number: number of the request on this connection.
        question, arrays: arguments of :meth:`.apart.Apart.ask`.
        taken: number of its frames that are in batches so far.
        parts: statistics of its frames computed so far, in order.
        seconds: time the device spent on it.
        failed: whether it was answered by an error.
    """

    connection: Connection
    number: int
    question: Question
    arrays: list[np.ndarray]
    taken: int = 0
    parts: list[np.ndarray] = field(default_factory=list)
    seconds: float = 0.0
    failed: bool = False

    def answer(self, error: Exception | None, value: Any = None) -> None:
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
        self._waiting: deque[_Request] = deque()
        self._changed = Condition()
        self._sender = ThreadPoolExecutor(1)
        self._under_way = Semaphore(UNDER_WAY)
        self._broken: DeviceError | None = None
        self._done = 0.0
        self._shared = cache(self._shared_views)
        for network in (*self._faces.values(), *self._images.values()):  # the very first batch is slow
            network(torch.zeros(1, network.spec.input_size, network.spec.input_size, 3, dtype=torch.uint8))

    def room_for(self, dtype: str, shape: tuple[int, ...]) -> np.ndarray:
        """Return an array to receive into; see :meth:`_Copies.room_for`."""
        return self._copies.room_for(dtype, shape)

    def put(self, request: _Request) -> None:
        """Add a request to the queue."""
        with self._changed:
            self._waiting.append(request)
            self._changed.notify()

    def work(self, tell: Told) -> None:
        """Answer requests until the device fails."""
        while self._broken is None:
            tell()
            parts = self._take()
            if parts:
                self._under_way.acquire()
                begun = time.perf_counter()
                self._sender.submit(self._finish, parts, self._begun(parts), begun)
        self._sender.shutdown()
        raise self._broken

    def _take(self) -> list[_Part]:
        """Return the next batch: frames of one or more requests for views, else one whole request."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._waiting, WORD):
                return []
            question = self._waiting[0].question
            if question.kind != "views":
                request = self._waiting.popleft()
                return [_Part(request, 0, 1)]
            parts: list[_Part] = []
            room = -(-self._batch // len(self._shared(question).matrices))
            for request in [request for request in self._waiting if request.question == question]:
                start, request.taken = request.taken, min(request.taken + room, len(request.arrays[0]))
                parts.append(_Part(request, start, request.taken))
                room -= request.taken - start
                if request.taken == len(request.arrays[0]):
                    self._waiting.remove(request)
                if not room:
                    break
            return parts

    def _begun(self, parts: Sequence[_Part]) -> Callable[[], Any]:
        """Start computing a batch; return a function that waits for the result."""
        request = parts[0].request
        label = request.question.label
        try:
            if request.question.kind == "views":
                return self._copies.down(self._statistics(parts))
            if request.question.kind == "images":
                return self._copies.down(self._images[label].on_device(request.arrays[0]))
            vectors, times = self._sounds[label](request.arrays[0])
            found = vectors.numpy(), times.numpy()
            return lambda: found
        except Exception as error:
            return _raising(error)

    def _finish(self, parts: Sequence[_Part], result: Callable[[], Any], begun: float) -> None:
        """Wait for a batch and answer the requests that are complete."""
        try:
            value = result()
            seconds = self._since(begun)
        except Exception as error:
            self._fail({part.request for part in parts}, error)
            return
        finally:
            self._under_way.release()
        if parts[0].request.question.kind != "views":
            parts[0].request.seconds = seconds
            parts[0].request.answer(None, value)
            return
        done = 0
        for part in parts:
            request, count = part.request, part.stop - part.start
            request.parts.append(value[done : done + count])
            request.seconds += seconds * count / len(value)
            done += count
            if sum(map(len, request.parts)) == len(request.arrays[0]) and not request.failed:
                request.answer(None, np.concatenate(request.parts))

    def _since(self, begun: float) -> float:
        """Return the device time of a batch that is done now: since its start or the previous batch's end."""
        before, self._done = self._done, time.perf_counter()
        return self._done - max(before, begun)

    def _fail(self, requests: set[_Request], error: Exception) -> None:
        told: Exception
        try:
            told = ClipError(reason_of(error))
        except DeviceError as broken:
            told = self._broken = broken
        for request in requests:
            if not request.failed:
                request.failed = True
                request.answer(told)

    @torch.inference_mode()
    def _statistics(self, parts: Sequence[_Part]) -> Tensor:
        """Compute the statistics ``[T, S, D]`` of the T frames of a batch, on the device."""
        question = parts[0].request.question
        network, shared = self._faces[question.label], self._shared(question)
        size, device = network.spec.input_size, self._copies.device
        matrices = np.concatenate([part.request.arrays[1][part.start : part.stop] for part in parts])
        blocks = [part.request.arrays[0][part.start : part.stop] for part in parts]
        if device.type == "cpu":
            flat = [frame for block in blocks for frame in block]

            def warped(rows: slice) -> Tensor:
                pairs = zip(flat[rows], matrices[rows], strict=True)
                return torch.from_numpy(np.concatenate([warp_cpu(*pair, size) for pair in pairs]))

        else:
            back, *there = self._copies.up([inverses(matrices).astype(np.float32), *blocks])
            frames = _one_block(there)

            def warped(rows: slice) -> Tensor:
                return warp_device(frames[rows], back[rows], size)

        def computed(numbers: Tensor) -> Tensor:
            rows = slice(int(numbers[0]), int(numbers[-1]) + 1)
            return shared.reduced(network.on_device(warped(rows)))

        return self._in_batches(computed, torch.arange(len(matrices)))

    def _shared_views(self, question: Question) -> SharedViews:
        spec = self._faces[question.label].spec
        return SharedViews(question.sets, spec.input_size, spec.window)


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
            self._up, self._down = torch.cuda.Stream(device), torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def room_for(self, dtype: str, shape: tuple[int, ...]) -> np.ndarray:
        """Return an array that can be copied to the device without blocking the CPU.

        Keep it alive until the copy is done.
        """
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        return torch.empty(size, dtype=torch.uint8, pin_memory=self._cuda).numpy().view(dtype).reshape(shape)

    def up(self, arrays: Sequence[np.ndarray]) -> list[Tensor]:
        """Copy arrays to the device; whatever is computed afterwards waits for them."""
        tensors = [torch.from_numpy(array) for array in arrays]
        if not self._cuda:
            return [tensor.to(self.device) for tensor in tensors]
        computing = torch.cuda.current_stream(self.device)
        with torch.cuda.stream(self._up):
            there = [
                (tensor if tensor.is_pinned() else tensor.pin_memory()).to(self.device, non_blocking=True)
                for tensor in tensors
            ]
        computing.wait_stream(self._up)
        for tensor in there:
            tensor.record_stream(computing)
        return there

    def down(self, result: Tensor) -> Callable[[], np.ndarray]:
        """Start copying a result that is being computed; return a function that waits for it."""
        if not self._cuda:
            found = result.cpu().numpy()
            return lambda: found
        self._down.wait_stream(torch.cuda.current_stream(self.device))
        with torch.cuda.stream(self._down):
            here = torch.empty(result.shape, dtype=result.dtype, pin_memory=True)
            here.copy_(result, non_blocking=True)
            copied = self._down.record_event()
        result.record_stream(self._down)

        def waited() -> np.ndarray:
            copied.synchronize()
            return here.numpy()

        return waited
