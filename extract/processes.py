"""Child processes that work for this one: a task that kills its child costs itself alone.

The pools of Python and joblib give up all of their work when one process dies, and cannot tell which task
did it. Here each child has one task at a time and a pipe of its own, so the culprit is known, the others go
on, and a new child takes the next task. When this process is killed, the pipes close and the children end.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from multiprocessing.connection import Connection
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from queue import SimpleQueue
from threading import Lock
from typing import Any, Generic, TypeVar

from .errors import ExtractError

T = TypeVar("T")
Listener = Callable[..., None]


class ProcessDied(Exception):
    """A child process ended in the middle of its task."""


class Processes(Generic[T]):
    """At most ``count`` children that call one function; they start when they are needed.

    Args:
        function: the work. The function, its arguments, and what it returns or raises must be picklable.
        count: tasks side by side.
        environment: variables that the children get beside this process's own.
        prepare: called by each child as it starts; what it raises, the child's first task raises.
    """

    def __init__(
        self,
        function: Callable[..., T],
        count: int,
        environment: Mapping[str, str] | None = None,
        prepare: Callable[[], object] | None = None,
    ) -> None:
        # Imported here, as it takes a while, and not by several threads at once, which joblib does not bear.
        from joblib.externals.loky.backend import get_context

        context = get_context("loky")  # fresh interpreters that do not run the user's script again
        self._children = [_Child(context, function, environment or {}, prepare) for _ in range(count)]
        self._idle: SimpleQueue[_Child] = SimpleQueue()
        for child in self._children:
            self._idle.put(child)
        self._threads = ThreadPoolExecutor(count)  # one a child, to wait for it

    def start(self) -> list[Future[None]]:
        """Start all children at once, before there is a task; each future ends when one is prepared."""
        return [self._threads.submit(self._start) for _ in self._children]

    def submit(self, *arguments: Any, listener: Listener | None = None) -> Future[T]:
        """Call the function in a child.

        The future raises :class:`ProcessDied` if the child dies (a crash, or no memory), and what the
        function raised if it did; either way the child is replaced.

        Args:
            arguments: of the function.
            listener: if given, the function gets one more argument, a callable; what that is called with in
                the child is passed on to the listener here, which a thread calls.
        """
        return self._threads.submit(self._call, arguments, listener)

    def close(self) -> None:
        """End all children, even those at work."""
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

    def call(self, arguments: tuple[Any, ...], listener: Listener | None) -> Any:
        self.start()
        try:
            self._pipe.send((arguments, listener is not None))
            while True:
                what, value = self._pipe.recv()
                if what == "returned":
                    return value
                if what == "raised":
                    raise value
                if listener is not None:
                    listener(*value)
        except (EOFError, ConnectionError) as error:
            self._stop()
            raise ProcessDied from error
        except BaseException:
            self._stop()  # nobody knows in which state it is
            raise

    def close(self) -> None:
        """End the process for good; a call in progress raises."""
        self._closed = True
        self._stop()

    def start(self) -> None:
        with self._lock:
            if self._closed:
                raise ProcessDied
            if self._process is not None:
                return
            self._pipe, theirs = self._context.Pipe()
            self._process = self._context.Process(  # type: ignore[attr-defined]
                target=_serve,
                args=(theirs, self._function, self._prepare),
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
            self._process.terminate()  # no handler is set, so this ends it even inside a decoder
            self._process.join()
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


def _serve(pipe: Connection, function: Callable[..., Any], prepare: Callable[[], object] | None) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # on Ctrl-C the main process ends this one
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
