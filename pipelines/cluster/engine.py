"""The engine interface: map one function over many items, on machines that share a file system.

Only small items and return values are sent between machines. Large data stays on the shared disk.
"""

from __future__ import annotations

import os
import socket
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

PACKAGE = __name__.partition(".")[0]
ENGINES = ("local", "slurm", "ray")

Item = TypeVar("Item")
Function = Callable[[Any], Any]


@dataclass(frozen=True)
class CallResult:
    """The outcome of one item.

    Attributes:
        index: index of the item.
        value: return value of the function.
        error: error message, or empty if the call succeeded.
    """

    index: int
    value: Any = None
    error: str = ""


class Engine(Protocol):
    """Calls a function on other machines.

    Attributes:
        tasks: number of concurrent calls.
        cores: processor cores available to each call.
    """

    tasks: int
    cores: int

    def map(self, function: Function, items: Sequence[Any]) -> Iterator[CallResult | None]:
        """Call ``function`` for each item; yield each outcome as it arrives, and None while waiting.

        Raises:
            ClusterError: the engine refuses the work.
        """

    def busy(self) -> int:
        """Return the number of pending and running calls for this folder, also of earlier commands."""

    def close(self) -> None:
        """Cancel calls that are no longer needed and clean up, once all work is done."""


@dataclass(frozen=True)
class ClusterSettings:
    """Where work runs.

    Attributes:
        on: ``local``, ``slurm`` or ``ray``.
        jobs: number of concurrent tasks; 0 for the engine's default.
        slurm: sbatch parameters, under submitit's names.
        ray: address of a Ray cluster, or ``auto``.
        cancel: whether an interrupt also cancels the tasks.
    """

    on: str = "local"
    jobs: int = 0
    slurm: Mapping[str, str] = field(default_factory=dict)
    ray: str = "auto"
    cancel: bool = False

    def engine(
        self, folder: Path, cores: int, gpu: bool, on_message: Callable[[str], None]
    ) -> AbstractContextManager[Engine]:
        """Create the engine named by ``on``, which must not be ``local``.

        Args:
            folder: folder on the shared disk; the engine may create a subfolder for its own files.
            cores: cores per task; 0 for the value in ``slurm``, or else one.
            gpu: whether each task needs a GPU.
            on_message: callback for messages about submitted work.

        Raises:
            ClusterError: the engine is not installed or does not respond.
        """
        if self.on == "slurm":
            from .slurm import Slurm

            return Slurm(folder, self.slurm, self.jobs, cores, gpu, self.cancel, on_message)
        from .rays import RayEngine

        return RayEngine(self.ray, self.jobs, cores or 1, gpu, on_message)


@dataclass(frozen=True)
class Call:
    """A function as workers call it: in the command's working directory, with errors returned as text.

    Clip and store paths may be relative, so that directory must exist on every machine.
    """

    function: Function
    folder: str

    def __call__(self, item: Any) -> CallResult:
        node = os.environ.get("SLURMD_NODENAME") or socket.gethostname()
        try:
            os.chdir(self.folder)
        except OSError as error:
            problem = f"cannot enter {self.folder} ({error.strerror}): run the command on a shared disk"
            return CallResult(0, error=f"{node}: {problem}")
        try:
            return CallResult(0, self.function(item))
        except Exception as error:
            traceback.print_exc()  # into the task's log
            expected = isinstance(error, OSError) or type(error).__module__.partition(".")[0] == PACKAGE
            return CallResult(0, error=f"{node}: {error if expected else repr(error)}")


def deal(items: Sequence[Item], parts: int) -> list[tuple[Item, ...]]:
    """Deal items like cards into at most ``parts`` parts; sorted by size, each part gets large and small."""
    parts = min(parts, len(items))
    return [tuple(items[number::parts]) for number in range(parts)]
