"""A pool of child processes in which a task that kills its child fails alone.

The pools of Python and joblib give up all their work when one process dies, and cannot tell which task was to
blame. Here each child has one task at a time and a pipe of its own: the failing task is known, the others
continue, and a new child takes the next task. A child that hangs or takes too much memory is killed and
counts as dead. When this process is killed, its children end.
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


CHECK_SECONDS = 0.25  # between checks of the children
END_SECONDS = 10.0  # to wait for a killed process to end; one that waits for a dead network disk may not


class ProcessDied(Exception):
    """A child process ended in the middle of its task; ``last_message`` is the last one to its listener."""

    def __init__(self, last_message: Sequence[Any] = ()) -> None:
        super().__init__(*last_message)
        self.last_message = tuple(last_message)


class ProcessHung(ProcessDied):
    """A child process gave no sign of life for too long and was killed."""


class ProcessTooLarge(ProcessDied):
    """The child processes took too much memory and the largest was killed."""


class Processes(Generic[T]):
    """A pool of at most ``count`` child processes that call one function, started on demand.

    Args:
        function: function to call. The function, its arguments, results and exceptions must be picklable.
        count: number of concurrent tasks.
        environment: additional environment variables of the children.
        prepare: called by each child when it starts; if it raises, the child's first task raises that.
        silence: seconds without a message to its listener after which a child is killed; 0 for no limit. Time
            during which this process is stopped, or the machine sleeps, does not count.
        memory: total bytes that the children may hold before the largest is killed; 0 for no limit. Pages of
            mapped files do not count, as the system can drop them. Without /proc there is no limit.
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
        # Imported here because it is slow, and not in the threads, as joblib's import is not thread-safe.
        from joblib.externals.loky.backend import get_context

        context = get_context("loky")  # fresh interpreters that do not run the user's script again
        self._children = [_Child(context, function, environment or {}, prepare) for _ in range(count)]
        self._idle: SimpleQueue[_Child] = SimpleQueue()
        for child in self._children:
            self._idle.put(child)
        self._threads = ThreadPoolExecutor(count)  # one per child, to wait for it
        self._silence, self._memory = silence, memory
        self._closed = Event()
        if silence or memory:
            Thread(target=self._watch, daemon=True).start()

    def start(self) -> list[Future[None]]:
        """Start all children now, before the first task; each future is done when one child is prepared."""
        return [self._threads.submit(self._start) for _ in self._children]

    def submit(self, *arguments: Any, listener: Listener | None = None) -> Future[T]:
        """Call the function in a child.

        The future raises :class:`ProcessDied` if the child dies (crash, out of memory) or is killed for a
        limit, and otherwise any exception of the function. In both cases the child is replaced.

        Args:
            arguments: arguments of the function.
            listener: called here, in a thread, with whatever the child passes to a callable that the function
                gets as an additional last argument. None: no such argument.
        """
        return self._threads.submit(self._call, arguments, listener)

    def close(self) -> None:
        """End all children, even busy ones."""
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
        """Check the children regularly. Silence is counted in checks, so suspended time does not count."""
        while not self._closed.wait(CHECK_SECONDS):
            for child in self._children:
                child.check(self._silence)
            if self._memory:
                sizes = {child: child.memory_bytes() for child in self._children}
                busy = [child for child in self._children if child.is_busy]
                if busy and sum(sizes.values()) > self._memory:
                    max(busy, key=lambda child: sizes[child]).kill(ProcessTooLarge)


class _Child:
    """One process, started at its first task and restarted after any that failed."""

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
        self._silent: float | None = None  # seconds since the last message; None while idle
        self._last_message: tuple[Any, ...] = ()
        self._error_type: type[ProcessDied] = ProcessDied

    def call(self, arguments: tuple[Any, ...], listener: Listener | None) -> Any:
        self.start()
        self._last_message, self._error_type, self._silent = (), ProcessDied, 0.0
        try:
            self._pipe.send((arguments, listener is not None))
            while True:
                kind, value = self._pipe.recv()
                self._silent = 0.0
                if kind == "returned":
                    return value
                if kind == "raised":
                    raise value
                self._last_message = value
                if listener is not None:
                    listener(*value)
        except (EOFError, ConnectionError) as error:
            self._stop()
            raise self._error_type(self._last_message) from error
        except BaseException:
            self._stop()  # its state is unknown
            raise
        finally:
            self._silent = None

    @property
    def is_busy(self) -> bool:
        """Whether the child has a task."""
        return self._silent is not None

    def check(self, limit: float) -> None:
        """Count the silence of a busy child, and kill it when the silence exceeds ``limit`` seconds."""
        if self._silent is not None:
            self._silent += CHECK_SECONDS
            if limit and self._silent > limit:
                self.kill(ProcessHung)

    def memory_bytes(self) -> int:
        """Return the bytes of private memory that the process holds; 0 if unknown."""
        process = self._process
        if process is None or process.pid is None:
            return 0
        with suppress(OSError, ValueError, IndexError):
            status = Path(f"/proc/{process.pid}/status").read_text().partition("RssAnon:")[2]
            return int(status.split()[0]) << 10
        return 0

    def kill(self, error_type: type[ProcessDied]) -> None:
        """End the process; the call in progress raises ``error_type``."""
        with self._lock:
            if self._process is not None and self._silent is not None:
                self._error_type = error_type
                _kill(self._process)

    def close(self) -> None:
        """End the process for good; a call in progress raises."""
        self._closed = True
        self._stop()

    def start(self, is_retry: bool = False) -> None:
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
            if process is not None and (process.exitcode or 0) < 0 and not is_retry:
                self.start(is_retry=True)  # ended by a signal, perhaps out of memory, which may pass
                return
            raise ExtractError(
                f"a worker process ended while starting (exit code {process and process.exitcode}): "
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
            self._process.join(END_SECONDS)
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
    """End a process, even one inside a decoder or stopped."""
    if os.name == "nt":
        process.terminate()
    elif process.pid is not None and process.exitcode is None:
        with suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)


def _serve(
    pipe: Connection, function: Callable[..., Any], prepare: Callable[[], object] | None, parent: int
) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # on Ctrl-C, the main process ends this one
    Thread(target=_end_with, args=(parent,), daemon=True).start()
    with suppress(OSError):  # if the system runs out of memory, it kills this process first
        Path("/proc/self/oom_score_adj").write_text("500")
    with suppress(EOFError, ConnectionError):  # the main process is gone
        pipe.send(_failure_of(prepare))
        while True:
            arguments, has_listener = pipe.recv()
            if has_listener:
                arguments += (lambda *values: pipe.send(("message", values)),)
            try:
                answer = ("returned", function(*arguments))
            except Exception as error:
                answer = ("raised", error)
            pipe.send(answer)


def _end_with(parent: int) -> None:
    """End this process when its parent has ended: a child that hangs would not notice its closed pipe."""
    if os.name == "nt":  # on Windows, the parent's number stays the same
        return
    while os.getppid() == parent:
        time.sleep(1)
    os.kill(os.getpid(), signal.SIGKILL)
