"""Where the time of a clip goes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from avemo.cache.clips import Clip
from avemo.extract import stopwatch
from avemo.extract.clip import ClipJob, extract_clip
from avemo.extract.plan import Plan
from avemo.extract.stopwatch import DECODE, DETECT, NETWORK, OPEN, REST, SOUND, WARP, Spent, clocked
from avemo.extract.streams.registry import keys_of


class Clock:
    """A clock that goes on only while somebody waits or works."""

    def __init__(self) -> None:
        self.now = Spent()

    def wait(self, seconds: float) -> None:
        self.now = self.now.plus(Spent(wall=seconds))

    def work(self, seconds: float) -> None:
        self.now = self.now.plus(Spent(wall=seconds, busy=seconds))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(stopwatch, "_now", lambda: clock.now)
    return clock


def test_a_stage_within_another_takes_its_own_time_from_it(clock: Clock) -> None:
    @clocked("inner")
    def inner() -> int:
        clock.work(0.5)
        return 3

    @clocked("items")
    def items() -> Iterator[int]:
        for number in range(2):
            clock.wait(0.25)
            yield number

    clock.wait(9)
    watch = stopwatch.Stopwatch()
    clock.wait(9)
    with watch.running():
        with watch.stage("outer"):
            clock.wait(1)
            assert inner() == 3
            for _ in items():  # what is done with an item is not the generator's time
                clock.work(2)
        clock.wait(0.125)
    clock.wait(9)
    assert inner() == 3  # no stopwatch runs
    assert watch.spent == {
        "outer": Spent(wall=5, busy=4),
        "inner": Spent(wall=0.5, busy=0.5),
        "items": Spent(wall=0.5),
        REST: Spent(wall=0.125),
    }


def test_an_error_ends_its_stage_alone(clock: Clock) -> None:
    @clocked("bad")
    def bad() -> None:
        clock.work(1)
        raise ValueError

    watch = stopwatch.Stopwatch()
    with watch.running():
        with pytest.raises(ValueError):
            bad()
        clock.wait(2)
    assert watch.spent == {"bad": Spent(wall=1, busy=1), REST: Spent(wall=2)}


def test_each_stage_of_a_clip_is_timed(make_clip: Callable[..., Path], tmp_path: Path) -> None:
    plan = Plan(device="cpu")
    job = ClipJob(Clip("a", "all", str(make_clip(tmp_path / "a.mp4", frames=6))), keys_of(plan))
    result = extract_clip(plan, job, tmp_path)
    assert not result.failure
    assert {*result.stages} == {OPEN, DECODE, DETECT, WARP, NETWORK, SOUND, REST}
    assert all(spent.wall > 0 for spent in result.stages.values())
