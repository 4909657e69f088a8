"""Ray: each item is a task of a Ray cluster."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from ..errors import ClusterError
from .engine import Call, CallResult, Function

RETRIES = 3
POLL_SECONDS = 2.0  # seconds between polls
CONNECT_TIMEOUT = 10
"""Timeout for connecting to a cluster."""


class RayEngine:
    """Runs calls as tasks of a Ray cluster. The tasks end with this process.

    Args:
        address: address of the cluster; ``auto`` for the one this machine belongs to, ``local`` to start one.
        jobs: number of concurrent tasks; 0 for as many as the cluster has processors for.
        cores: processor cores per task.
        gpu: whether each task needs a GPU.
        on_message: callback for a message about the cluster's size.

    Raises:
        ClusterError: Ray is not installed, there is no cluster at the address, or it is too small for a task.
    """

    def __init__(
        self, address: str, jobs: int, cores: int, gpu: bool, on_message: Callable[[str], None]
    ) -> None:
        try:
            import ray
        except ImportError:
            raise ClusterError("Ray is not installed: pip install 'avemo[ray]'") from None
        self._ray: Any = ray
        host, colon, port = address.rpartition(":")
        try:
            if colon and port.isdecimal():  # fail early: Ray itself waits for more than a minute
                socket.create_connection((host.rpartition("/")[2], int(port)), CONNECT_TIMEOUT).close()
            self._ray.init(address=address, log_to_driver=False, logging_level="error")
        except (ConnectionError, RuntimeError, ValueError, OSError) as error:
            raise ClusterError(
                f"--ray {address}: no Ray cluster found ({str(error).splitlines()[0]}); start one with "
                "`ray start --head`, or give its address"
            ) from error
        resources = self._ray.cluster_resources()
        capacity = int(resources.get("CPU", 0) // cores)
        if gpu:
            capacity = min(capacity, int(resources.get("GPU", 0)))
        if capacity < 1:
            self._ray.shutdown()
            raise ClusterError(
                f"a task needs {cores} processors{' and a GPU' if gpu else ''}, but the Ray cluster has "
                f"{resources.get('CPU', 0):g} and {resources.get('GPU', 0):g} GPUs; use fewer --workers, or "
                "add nodes"
            )
        self.tasks = min(jobs, capacity) if jobs else capacity
        self.cores = cores
        self._options = {"num_cpus": cores, "num_gpus": int(gpu), "max_retries": RETRIES}
        nodes = sum(bool(node["Alive"]) for node in self._ray.nodes())
        on_message(f"Ray cluster: {nodes} nodes, {self.tasks} tasks at once")

    def __enter__(self) -> RayEngine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ray.shutdown()

    def map(self, function: Function, items: Sequence[Any]) -> Iterator[CallResult | None]:
        """See :meth:`.Engine.map`. Ray retries tasks whose process or node dies."""
        remote = self._ray.remote(**self._options)(_run_call)
        call = Call(function, str(Path.cwd()))
        pending = list(enumerate(items))[::-1]
        running: dict[Any, int] = {}
        try:
            while pending or running:
                while pending and len(running) < self.tasks:
                    index, item = pending.pop()
                    running[remote.remote(call, item)] = index
                ready, _ = self._ray.wait(list(running), timeout=POLL_SECONDS)
                for reference in ready:
                    yield self._result(running.pop(reference), reference)
                yield None
        finally:
            for reference in running:
                self._ray.cancel(reference, force=True)

    def busy(self) -> int:
        """Return 0: tasks end with the command that started them."""
        return 0

    def close(self) -> None:
        """Do nothing: there is nothing to clean up."""

    def _result(self, index: int, reference: Any) -> CallResult:
        try:
            result = self._ray.get(reference)
        except self._ray.exceptions.RayError as error:
            lines = [line.strip() for line in str(error).splitlines() if line.strip()]
            return CallResult(
                index, error=f"a task was lost {RETRIES + 1} times: {lines[0] if lines else error!r}"
            )
        return CallResult(index, result.value, result.error)


def _run_call(call: Call, item: Any) -> CallResult:
    return call(item)
