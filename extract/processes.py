"""Child processes that work for this one: a task that kills its child costs itself alone.

The pools of Python and joblib give up all of their work when one process dies, and cannot tell which task
did it. Here each child has one task at a time and a pipe of its own, so the culprit is known, the others go
on, and a new child takes the next task. A child that hangs, or takes too much memory, is killed and counts as
dead. When this process is killed, the children end.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from multiprocessing.connection import Connection
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from queue import SimpleQueue
from threading import Event, Lock, Thread
from typing import Any, Generic, TypeVar

from .errors import ExtractError

T = TypeVar("T")
Listener = Callable[..., None]


LOOK = 0.25  # seconds between looks at the children
END = 10.0  # seconds for a killed process to end; one that waits for a dead network disk may not


class ProcessDied(Exception):
    """A child process ended in the middle of its task; ``told`` is what it told last."""

    def __init__(self, told: Sequence[Any] = ()) -> None:
        super().__init__(*told)
        self.told = tuple(told)


class ProcessHung(ProcessDied):
    """A child process told nothing for too long, and was killed."""


class ProcessTooLarge(ProcessDied):
    """The child processes took too much memory, and the largest was killed."""


class Processes(Generic[T]):
    """At most ``count`` children that call one function; they start when they are needed.

    Args:
        function: the work. The function, its arguments, and what it returns or raises must be picklable.
        count: tasks side by side.
        environment: variables that the children get beside this process's own.
        prepare: called by each child as it starts; what it raises, the child's first task raises.
        silence: seconds without a word to its listener after which a child is killed; 0 for no limit. Time in
            which this process is stopped itself, or the machine sleeps, does not count.
        memory: bytes that the children may hold together; where they hold more, the largest is killed. 0 for
            no limit. Pages of mapped files, which the system drops at need, do not count; where there is no
            /proc, nothing does.
    """

    def __init__(
        self,
        function: Callable[..., T],
        count: int,
        environment: Mapping[str, str] | None = None,
        prepare: Callable[[], object] | None = None,
        silence: float = 0.0,
        memory: int = 0,
    ) -> None:
        # Imported here, as it takes a while, and not by several threads at once, which joblib does not bear.
        from joblib.externals.loky.backend import get_context

        context = get_context("loky")  # fresh interpreters that do not run the user's script again
        self._children = [_Child(context, function, environment or {}, prepare) for _ in range(count)]
        self._idle: SimpleQueue[_Child] = SimpleQueue()
        for child in self._children:
            self._idle.put(child)
        self._threads = ThreadPoolExecutor(count)  # one a child, to wait for it
        self._silence, self._memory = silence, memory
        self._closed = Event()
        if silence or memory:
            Thread(target=self._watch, daemon=True).start()

    def start(self) -> list[Future[None]]:
        """Start all children at once, before there is a task; each future ends when one is prepared."""
        return [self._threads.submit(self._start) for _ in self._children]

    def submit(self, *arguments: Any, listener: Listener | None = None) -> Future[T]:
        """Call the function in a child.

        The future raises :class:`ProcessDied` if the child dies (a crash, or no memory) or is killed for a
        limit, and what the function raised if it did; either way the child is replaced.

        Args:
            arguments: of the function.
            listener: if given, the function gets one more argument, a callable; what that is called with in
                the child is passed on to the listener here, which a thread calls.
        """
        return self._threads.submit(self._call, arguments, listener)

    def close(self) -> None:
        """End all children, even those at work."""
        self._closed.set()
        self._threads.shutdown(wait=False, cancel_futures=True)
        for child in self._children:
            child.close()
        self._threads.shutdown()

    def _start(self) -> None:
        child = self._idle.get()
        try:
            child.start()
        finally:
            self._idle.put(child)

    def _call(self, arguments: tuple[Any, ...], listener: Listener | None) -> T:
        child = self._idle.get()
        try:
            result: T = child.call(arguments, listener)
            return result
        finally:
            self._idle.put(child)

    def _watch(self) -> None:
        """Look at the children again and again; only looks are counted, so that a stop of all costs none."""
        while not self._closed.wait(LOOK):
            for child in self._children:
                child.look(self._silence)
            if self._memory:
                sizes = {child: child.size() for child in self._children}
                at_work = [child for child in self._children if child.at_work]
                if at_work and sum(sizes.values()) > self._memory:
                    max(at_work, key=lambda child: sizes[child]).kill(ProcessTooLarge)


class _Child:
    """One process, started at its first task and again after each that ended or spoilt it."""

    def __init__(
        self,
        context: BaseContext,
        function: Callable[..., Any],
        environment: Mapping[str, str],
        prepare: Callable[[], object] | None,
    ) -> None:
        self._prepare = prepare
        self._context, self._function, self._environment = context, function, dict(environment)
        self._process: BaseProcess | None = None
        self._pipe: Connection
        self._lock = Lock()
        self._closed = False
        self._silent: float | None = None  # seconds since the last word; None while it has no task
        self._told: tuple[Any, ...] = ()
        self._fate: type[ProcessDied] = ProcessDied

    def call(self, arguments: tuple[Any, ...], listener: Listener | None) -> Any:
        self.start()
        self._told, self._fate, self._silent = (), ProcessDied, 0.0
        try:
            self._pipe.send((arguments, listener is not None))
            while True:
                what, value = self._pipe.recv()
                self._silent = 0.0
                if what == "returned":
                    return value
                if what == "raised":
                    raise value
                self._told = value
                if listener is not None:
                    listener(*value)
        except (EOFError, ConnectionError) as error:
            self._stop()
            raise self._fate(self._told) from error
        except BaseException:
            self._stop()  # nobody knows in which state it is
            raise
        finally:
            self._silent = None

    @property
    def at_work(self) -> bool:
        """Whether it has a task."""
        return self._silent is not None

    def look(self, limit: float) -> None:
        """Count the silence of a child at work; kill it when it is too long."""
        if self._silent is not None:
            self._silent += LOOK
            if limit and self._silent > limit:
                self.kill(ProcessHung)

    def size(self) -> int:
        """Bytes of memory that the process holds for itself; 0 where nobody can tell."""
        process = self._process
        if process is None or process.pid is None:
            return 0
        with suppress(OSError, ValueError, IndexError):
            status = Path(f"/proc/{process.pid}/status").read_text().partition("RssAnon:")[2]
            return int(status.split()[0]) << 10
        return 0

    def kill(self, fate: type[ProcessDied]) -> None:
        """End the process; the call in progress raises ``fate``."""
        with self._lock:
            if self._process is not None and self._silent is not None:
                self._fate = fate
                _kill(self._process)

    def close(self) -> None:
        """End the process for good; a call in progress raises."""
        self._closed = True
        self._stop()

    def start(self, again: bool = False) -> None:
        with self._lock:
            if self._closed:
                raise ProcessDied
            if self._process is not None:
                return
            self._pipe, theirs = self._context.Pipe()
            self._process = self._context.Process(  # type: ignore[attr-defined]
                target=_serve,
                args=(theirs, self._function, self._prepare, os.getpid()),
                daemon=True,
                env=self._environment,
            )
            self._process.start()
            theirs.close()  # so that the pipe ends when the child does
        try:
            failure = self._pipe.recv()
        except (EOFError, ConnectionError) as error:
            process = self._process
            if process is not None:
                process.join(5)
            self._stop()
            if self._closed:
                raise ProcessDied from error
            if process is not None and (process.exitcode or 0) < 0 and not again:
                self.start(again=True)  # a signal ended it, perhaps for want of memory; that may pass
                return
            raise ExtractError(
                f"a process for the work ended as it started (exit code {process and process.exitcode}): "
                "free memory or use fewer --workers, then run the same command again"
            ) from error
        if failure is not None:
            self._stop()
            raise failure

    def _stop(self) -> None:
        with self._lock:
            if self._process is None:
                return
            _kill(self._process)
            self._process.join(END)
            with suppress(OSError):
                self._pipe.close()
            self._process = None


def _failure_of(prepare: Callable[[], object] | None) -> Exception | None:
    try:
        if prepare is not None:
            prepare()
    except Exception as error:
        return error
    return None


def _kill(process: BaseProcess) -> None:
    """End a process even inside a decoder, and even when it is stopped."""
    if os.name == "nt":
        process.terminate()
    elif process.pid is not None and process.exitcode is None:
        with suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)


def _serve(
    pipe: Connection, function: Callable[..., Any], prepare: Callable[[], object] | None, parent: int
) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # on Ctrl-C the main process ends this one
    Thread(target=_end_with, args=(parent,), daemon=True).start()
    with suppress(OSError):  # where the system runs out of memory, it takes this process, not the main one
        Path("/proc/self/oom_score_adj").write_text("500")
    with suppress(EOFError, ConnectionError):  # the main process is gone
        pipe.send(_failure_of(prepare))
        while True:
            arguments, told = pipe.recv()
            if told:
                arguments += (lambda *values: pipe.send(("told", values)),)
            try:
                answer = ("returned", function(*arguments))
            except Exception as error:
                answer = ("raised", error)
            pipe.send(answer)


def _end_with(parent: int) -> None:
    """A child notices at its next word that its pipe is closed; one that hangs says none."""
    if os.name == "nt":  # where a process keeps the number of a parent that is gone
        return
    while os.getppid() == parent:
        time.sleep(1)
    os.kill(os.getpid(), signal.SIGKILL)
