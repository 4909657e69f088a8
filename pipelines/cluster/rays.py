"""Ray: each item is a task of a Ray cluster."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from ..errors import ClusterError
from .engine import Call, Ended, Function

RETRIES = 3
LOOK = 2.0  # seconds between polls
SECONDS = 10
"""Timeout for connecting to a cluster."""


class RayEngine:
    """Runs calls as tasks of a Ray cluster. The tasks end with this process.

    Args:
        address: address of the cluster; ``auto`` for the one this machine belongs to, ``local`` to start one.
        jobs: number of concurrent tasks; 0 for as many as the cluster has processors for.
        cores: processor cores per task.
        gpu: whether each task needs a GPU.
        told: callback for a message about the cluster's size.

    Raises:
        ClusterError: Ray is not installed, there is no cluster at the address, or it is too small for a task.
    """

    def __init__(self, address: str, jobs: int, cores: int, gpu: bool, told: Callable[[str], None]) -> None:
        try:
            import ray
        except ImportError:
            raise ClusterError("Ray is not installed: pip install 'avemo[ray]'") from None
        self._ray: Any = ray
        host, colon, port = address.rpartition(":")
        try:
            if colon and port.isdecimal():  # fail early: Ray itself waits for more than a minute
                socket.create_connection((host.rpartition("/")[2], int(port)), SECONDS).close()
            self._ray.init(address=address, log_to_driver=False, logging_level="error")
        except (ConnectionError, RuntimeError, ValueError, OSError) as error:
            raise ClusterError(
                f"--ray {address}: there is no Ray cluster ({str(error).splitlines()[0]}); start one by "
                "`ray start --head`, or name its address"
            ) from error
        have = self._ray.cluster_resources()
        room = int(have.get("CPU", 0) // cores)
        if gpu:
            room = min(room, int(have.get("GPU", 0)))
        if room < 1:
            self._ray.shutdown()
            raise ClusterError(
                f"a task needs {cores} processors{' and a GPU' if gpu else ''}, and the Ray cluster has "
                f"{have.get('CPU', 0):g} and {have.get('GPU', 0):g} GPUs; use fewer --workers, or add nodes"
            )
        self.tasks = min(jobs, room) if jobs else room
        self.cores = cores
        self._options = {"num_cpus": cores, "num_gpus": int(gpu), "max_retries": RETRIES}
        nodes = sum(bool(node["Alive"]) for node in self._ray.nodes())
        told(f"Ray cluster: {nodes} nodes, {self.tasks} tasks at once")

    def __enter__(self) -> RayEngine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ray.shutdown()

    def map(self, function: Function, items: Sequence[Any]) -> Iterator[Ended | None]:
        """See :meth:`.Engine.map`. Ray retries tasks whose process or node dies."""
        remote = self._ray.remote(**self._options)(_called)
        call = Call(function, str(Path.cwd()))
        waiting = list(enumerate(items))[::-1]
        flying: dict[Any, int] = {}
        try:
            while waiting or flying:
                while waiting and len(flying) < self.tasks:
                    place, item = waiting.pop()
                    flying[remote.remote(call, item)] = place
                ready, _ = self._ray.wait(list(flying), timeout=LOOK)
                for reference in ready:
                    yield self._end(flying.pop(reference), reference)
                yield None
        finally:
            for reference in flying:
                self._ray.cancel(reference, force=True)

    def busy(self) -> int:
        """Return 0: tasks end with the command that started them."""
        return 0

    def close(self) -> None:
        """Do nothing: there is nothing to clean up."""

    def _end(self, place: int, reference: Any) -> Ended:
        try:
            end = self._ray.get(reference)
        except self._ray.exceptions.RayError as error:
            lines = [line.strip() for line in str(error).splitlines() if line.strip()]
            return Ended(
                place, trouble=f"a task was lost {RETRIES + 1} times: {lines[0] if lines else error!r}"
            )
        return Ended(place, end.value, end.trouble)


def _called(call: Call, item: Any) -> Ended:
    return call(item)
