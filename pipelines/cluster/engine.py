"""What an engine is: it calls one function for many items, on machines that share a file system.

Items travel to the workers and values travel back; both are small. What is large lies on the shared disk.
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
class Ended:
    """The end of one item: its ``value``, or the ``trouble`` that kept it from having one."""

    place: int
    value: Any = None
    trouble: str = ""


class Engine(Protocol):
    """Calls a function on other machines.

    Attributes:
        tasks: how many calls run side by side.
        cores: what each may use of its machine's processors.
    """

    tasks: int
    cores: int

    def map(self, function: Function, items: Sequence[Any]) -> Iterator[Ended | None]:
        """Call ``function`` for each item, yielding each end as it comes, and None while nothing comes.

        Raises:
            ClusterError: the engine does not take the work.
        """

    def busy(self) -> int:
        """How many calls on the same folder wait or run, those of an earlier command too."""

    def close(self) -> None:
        """End calls that nobody needs any more, and clear up, after all work was done."""


@dataclass(frozen=True)
class ClusterSettings:
    """Where work runs.

    Attributes:
        on: ``local``, ``slurm`` or ``ray``.
        jobs: tasks side by side; 0 for what suits the engine.
        slurm: parameters of sbatch, as submitit names them.
        ray: address of a Ray cluster, or ``auto``.
        cancel: whether an interrupt cancels the tasks too.
    """

    on: str = "local"
    jobs: int = 0
    slurm: Mapping[str, str] = field(default_factory=dict)
    ray: str = "auto"
    cancel: bool = False

    def engine(
        self, folder: Path, cores: int, gpu: bool, told: Callable[[str], None]
    ) -> AbstractContextManager[Engine]:
        """The engine.

        Args:
            folder: on the shared disk; the engine may keep files in it, in a folder of its own.
            cores, gpu: what a task uses; 0 cores for one, or what ``slurm`` says.
            told: hears what was handed to the engine.

        Raises:
            ClusterError: it is not installed, or does not answer.
        """
        if self.on == "slurm":
            from .slurm import Slurm

            return Slurm(folder, self.slurm, self.jobs, cores, gpu, self.cancel, told)
        from .rays import RayEngine

        return RayEngine(self.ray, self.jobs, cores or 1, gpu, told)


@dataclass(frozen=True)
class Call:
    """A function as workers call it: in the folder of the command, and its errors as texts.

    Paths of clips and stores may be relative, so the folder must be there on every machine.
    """

    function: Function
    folder: str

    def __call__(self, item: Any) -> Ended:
        node = os.environ.get("SLURMD_NODENAME") or socket.gethostname()
        try:
            os.chdir(self.folder)
        except OSError as error:
            why = f"it cannot enter {self.folder} ({error.strerror}): run the command on a shared disk"
            return Ended(0, trouble=f"{node}: {why}")
        try:
            return Ended(0, self.function(item))
        except Exception as error:
            traceback.print_exc()  # into the task's log
            own = isinstance(error, OSError) or type(error).__module__.partition(".")[0] == PACKAGE
            return Ended(0, trouble=f"{node}: {error if own else repr(error)}")


def dealt(items: Sequence[Item], parts: int) -> list[tuple[Item, ...]]:
    """Items dealt out like cards to at most ``parts``: ordered by size, each part gets large and small."""
    parts = min(parts, len(items))
    return [tuple(items[number::parts]) for number in range(parts)]
