"""The processes of a run: workers for clips and, if networks run on GPUs, one process per GPU."""

from __future__ import annotations

import os
import platform
import secrets
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, as_completed, wait
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from threading import Event
from typing import Any

from .apart import Endpoint, NetworkClient
from .clip import ClipJob, ClipResult, extract_clip, load_networks
from .devices import known_bf16
from .errors import DeviceError, ExtractError
from .networks import use_client
from .plan import Plan
from .precision import has_fast_bf16
from .processes import CHECK_SECONDS, Listener, ProcessDied, Processes, ProcessHung
from .streams.registry import keys_of

# A network's feature maps take megabytes each and are freed at once. By default glibc returns such blocks to
# the kernel, which then clears every page again for each batch (see mallopt(3); other systems ignore these).
KEEP_MEMORY = {
    "MALLOC_MMAP_THRESHOLD_": str(32 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(1 << 30),
    "MALLOC_TOP_PAD_": str(64 << 20),
}
BATCH_SECONDS = 60.0  # lower limit of the time allowed for a batch, or for loading the networks
STARTS = 3  # failed starts of a network process in a row after which the device must be at fault


class Crew:
    """The workers of a run and, if workers do not run the networks themselves, the network processes.

    Args:
        plan: the settings.
        count: number of workers.
        cores: number of processor cores, shared by the workers.
        silence, memory: limits of the workers, see :class:`.processes.Processes`.
        devices: devices that get a network process each; if empty, each worker runs the networks.
    """

    def __init__(
        self, plan: Plan, count: int, cores: int, silence: float, memory: int, devices: Sequence[str] = ()
    ) -> None:
        self._plan, self._threads = plan, max(1, cores // count)
        self._fast_bf16 = {device: has_fast_bf16(device) for device in devices}
        self._limits = silence, memory
        if devices:  # resolved here, as a worker without torch cannot resolve auto
            self._plan = replace(plan, device=devices[0])
        self._networks = NetworkProcesses(plan, devices, self._threads, silence) if devices else None
        self._workers = self._new_workers(count)

    def start(self) -> None:
        """Start all processes; return when one worker and one network process are ready.

        Raises:
            ExtractError: a network, its weights or the detector cannot be used.
        """
        next(as_completed(self._workers.start())).result()
        if self._networks is not None:
            self._networks.wait_ready()

    def submit(
        self, job: ClipJob, spool: Path, threads: int, listener: Listener | None = None
    ) -> Future[ClipResult]:
        """Extract a clip in a worker (:func:`.clip.extract_clip`, :meth:`.processes.Processes.submit`)."""
        return self._workers.submit(self._plan, job, spool, threads, listener=listener)

    def wait(self, pending: Iterable[Future[ClipResult]]) -> set[Future[ClipResult]]:
        """Wait until a clip is done; return all that are. Meanwhile, restart network processes that end.

        Raises:
            ExtractError: a network process ends whenever it is started.
        """
        pending = set(pending)
        while True:
            futures: list[Future[Any]] = [*pending, *self._serving]
            done = wait(futures, return_when=FIRST_COMPLETED).done
            if self._networks is not None:
                self._networks.restart_ended(done)
            if done & pending:
                return done & pending

    def restart_with_one_worker(self) -> None:
        """Replace the workers by a single new one."""
        self._workers.close()
        self._workers = self._new_workers(1)

    def close(self) -> None:
        """End all processes, even busy ones."""
        self._workers.close()
        if self._networks is not None:
            self._networks.close()

    @property
    def _serving(self) -> Iterable[Future[None]]:
        return self._networks.serving if self._networks is not None else ()

    def _new_workers(self, count: int) -> Processes[ClipResult]:
        libraries = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
        environment = {**dict.fromkeys(libraries, str(self._threads)), **KEEP_MEMORY}
        endpoints = self._networks.endpoints if self._networks is not None else ()
        prepare = partial(_prepare, self._plan, endpoints, self._fast_bf16)
        return Processes(extract_clip, count, environment, prepare, *self._limits)


def _prepare(plan: Plan, endpoints: Sequence[Endpoint], fast_bf16: Mapping[str, bool]) -> None:
    """Prepare a worker. One that runs no networks need not import torch."""
    if endpoints:
        known_bf16.update(fast_bf16)
        use_client(NetworkClient(endpoints))
    load_networks(plan)


class NetworkProcesses:
    """One process per device, which runs the networks there for all workers (:mod:`.network_process`).

    The processes start at once. When one ends, its pending requests fail and a new process replaces it.

    Args:
        plan: the settings.
        devices: torch device names.
        threads: threads of each process, for networks that run on the CPU.
        silence: seconds without a sign of life after which a process is killed, at least
            :data:`BATCH_SECONDS`; 0 for no limit.

    Attributes:
        endpoints: endpoint of each process.
        serving: for each running process, a future that is done when the process ends → its endpoint.
    """

    def __init__(self, plan: Plan, devices: Sequence[str], threads: int, silence: float) -> None:
        from .network_process import serve

        self.endpoints = [Endpoint(device, _address(), secrets.token_bytes(32)) for device in devices]
        self.serving: dict[Future[None], Endpoint] = {}
        self._settings = plan, keys_of(plan)
        self._threads = threads
        self._failures: Counter[Endpoint] = Counter()
        self._ready = Event()
        limit = silence and max(silence, BATCH_SECONDS)
        self._processes: Processes[None] = Processes(serve, len(self.endpoints), KEEP_MEMORY, silence=limit)
        for endpoint in self.endpoints:
            self._start(endpoint)

    def wait_ready(self) -> None:
        """Wait until one process has loaded its networks.

        Raises:
            ExtractError: the networks cannot be used.
        """
        while not self._ready.wait(CHECK_SECONDS):
            self.restart_ended({future for future in self.serving if future.done()})

    def restart_ended(self, done: Iterable[Future[Any]]) -> None:
        """Restart processes that have ended.

        Args:
            done: finished futures, of these processes or others.

        Raises:
            ExtractError: the networks cannot be used, or a process ends whenever it is started.
        """
        for future in {*done} & {*self.serving}:
            endpoint, error = self.serving.pop(future), future.exception()
            if not isinstance(error, (ProcessDied, DeviceError)):
                raise error or AssertionError("a network process runs until it is ended")
            self._failures[endpoint] += 1
            if self._failures[endpoint] >= STARTS:
                raise ExtractError(
                    f"the network process on {endpoint.device} {_why(error)}, {STARTS} times in a row; "
                    "finished clips are stored: check the device or use --device cpu, then run the same "
                    "command again"
                ) from error
            self._start(endpoint)

    def close(self) -> None:
        """End all processes."""
        self._processes.close()
        for endpoint in self.endpoints:
            if not endpoint.address.startswith("\0"):
                with suppress(OSError):
                    Path(endpoint.address).unlink()

    def _start(self, endpoint: Endpoint) -> None:
        listener = partial(self._on_message, endpoint)
        self.serving[self._processes.submit(*self._settings, endpoint, self._threads, listener=listener)] = (
            endpoint
        )

    def _on_message(self, endpoint: Endpoint, *message: str) -> None:
        if message:
            self._failures[endpoint] = 0
            self._ready.set()


def _why(error: BaseException) -> str:
    if isinstance(error, ProcessHung):
        return "gave no sign of life and was killed"
    return "ended" if isinstance(error, ProcessDied) else f"failed ({error})"


def _address() -> str:
    """Return a new local socket address. On Linux and Windows it vanishes with its process."""
    name = f"avemo-{secrets.token_hex(8)}"
    if platform.system() == "Linux":
        return f"\0{name}"
    return rf"\\.\pipe\{name}" if os.name == "nt" else str(Path(tempfile.gettempdir()) / name)
