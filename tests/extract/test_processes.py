"""Child processes: a task that kills its child costs itself alone, and no child outlives its parent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from avemo.extract.errors import ExtractError
from avemo.extract.processes import ProcessDied, Processes, ProcessHung, ProcessTooLarge


def work(what: str, tell: Callable[..., None] | None = None) -> tuple[str, int, str | None]:
    if what == "die":
        os.kill(os.getpid(), signal.SIGSEGV)
    if what == "raise":
        raise ExtractError("no")
    if what == "stop":
        if tell is not None:
            tell("half")
        os.kill(os.getpid(), signal.SIGSTOP)
    if what == "eat":
        eaten = []
        while True:
            eaten.append(bytearray(b"x") * (64 << 20))
            time.sleep(0.05)
    if what == "sleep":
        time.sleep(60)
    if tell is not None:
        tell("half", 1)
        tell("all", 2)
    return what, os.getpid(), os.environ.get("AVEMO_TEST")


def prepared() -> None:
    os.environ["AVEMO_TEST"] = "prepared"


def unprepared() -> None:
    raise ExtractError("no weights")


ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def _children_find_this_module(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT))


@pytest.fixture
def processes() -> Iterator[Processes[tuple[str, int, str | None]]]:
    started = Processes(work, 2, {"AVEMO_TEST": "set"})
    yield started
    started.close()


Two = Processes[tuple[str, int, str | None]]


def test_a_death_costs_its_task_alone(processes: Two) -> None:
    futures = [processes.submit(what) for what in ("a", "die", "b", "die", "c", "d")]
    for future in (futures[1], futures[3]):
        with pytest.raises(ProcessDied):
            future.result(60)
    assert [futures[place].result(60)[0] for place in (0, 2, 4, 5)] == ["a", "b", "c", "d"]


def test_work_is_done_elsewhere_and_children_are_kept(processes: Two) -> None:
    results = [processes.submit("a").result(60) for _ in range(6)]
    assert os.getpid() not in {pid for _, pid, _ in results}
    assert len({pid for _, pid, _ in results}) <= 2
    assert {value for _, _, value in results} == {"set"}


def test_a_child_that_raised_is_replaced(processes: Two) -> None:
    before = {processes.submit("a").result(60)[1] for _ in range(4)}
    for _ in range(2):
        with pytest.raises(ExtractError, match="no"):
            processes.submit("raise").result(60)
    assert not before & {processes.submit("a").result(60)[1] for _ in range(4)}


def test_a_task_may_tell_how_far_it_is(processes: Two) -> None:
    messages: list[tuple[str, int]] = []
    processes.submit("a", listener=lambda *values: messages.append(values)).result(60)
    assert messages == [("half", 1), ("all", 2)]


def test_closing_ends_what_is_at_work() -> None:
    processes = Processes(work, 1)
    pid = processes.submit("a").result(60)[1]
    future = processes.submit("sleep")
    time.sleep(0.2)
    start = time.monotonic()
    processes.close()
    assert time.monotonic() - start < 10
    assert isinstance(future.exception(1), ProcessDied)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_children_that_are_started_early_prepare_before_their_first_task() -> None:
    processes = Processes(work, 2, prepare=prepared)
    try:
        for future in processes.start():
            future.result(60)
        results = [processes.submit("a").result(60) for _ in range(4)]
        assert {value for _, _, value in results} == {"prepared"}
    finally:
        processes.close()


def test_what_a_child_cannot_prepare_is_told_at_the_start_and_by_its_task() -> None:
    processes = Processes(work, 1, prepare=unprepared)
    try:
        with pytest.raises(ExtractError, match="no weights"):
            processes.start()[0].result(60)
        with pytest.raises(ExtractError, match="no weights"):
            processes.submit("a").result(60)
    finally:
        processes.close()


def test_a_child_that_says_nothing_is_killed_though_it_is_stopped() -> None:
    processes = Processes(work, 2, silence=1)
    try:
        with pytest.raises(ProcessHung) as caught:
            processes.submit("stop", listener=lambda *_: None).result(60)
        assert caught.value.last_message == ("half",)
        assert processes.submit("a").result(60)[0] == "a"
        time.sleep(1.5)  # a child without a task may be silent
        assert processes.submit("a").result(60)[0] == "a"
    finally:
        processes.close()


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads in /proc how large a process is")
def test_the_largest_child_is_killed_where_all_together_are_too_large() -> None:
    processes = Processes(work, 2, memory=1 << 30)
    try:
        other = processes.submit("a").result(60)[1]
        with pytest.raises(ProcessTooLarge):
            processes.submit("eat").result(60)
        assert other in {processes.submit("a").result(60)[1] for _ in range(3)}
    finally:
        processes.close()


class KilledOnce:
    """A function that ends the first process which unpickles it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., object], tuple[Path]]:
        return killed_once, (self.path,)

    def __call__(self, what: str) -> tuple[str, int, str | None]:
        raise AssertionError


def killed_once(path: Path) -> Callable[..., tuple[str, int, str | None]]:
    if not path.exists():
        path.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return work


def test_a_child_that_is_killed_as_it_starts_is_started_again(tmp_path: Path) -> None:
    processes = Processes(KilledOnce(tmp_path / "once"), 1)
    try:
        assert processes.submit("a").result(60)[0] == "a"
    finally:
        processes.close()


class Unstartable:
    """A function that ends the process which unpickles it."""

    def __reduce__(self) -> tuple[Callable[..., object], tuple[int]]:
        return os._exit, (7,)

    def __call__(self) -> None:
        raise AssertionError


def test_a_child_that_cannot_start_is_an_error() -> None:
    processes = Processes(Unstartable(), 1)
    try:
        with pytest.raises(ExtractError, match=r"ended while starting \(exit code 7\)"):
            processes.submit().result(60)
    finally:
        processes.close()


ORPHANED = """
import os, sys, time
from tests.extract.test_processes import work
from avemo.extract.processes import Processes
processes = Processes(work, 1)
print(processes.submit("a").result(60)[1], flush=True)
os.kill(os.getpid(), 9)
"""


@pytest.mark.parametrize("at_work", [False, True])
def test_children_end_when_their_parent_is_killed(at_work: bool) -> None:
    """Also one that is at work for long, and does not look at its pipe."""
    script = ORPHANED.replace(
        "os.kill", 'processes.submit("sleep"); time.sleep(0.5); os.kill' if at_work else "os.kill"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    pid = int(done.stdout)
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    raise AssertionError(f"child {pid} still lives")
