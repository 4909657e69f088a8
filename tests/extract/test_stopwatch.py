"""Where the time of a clip goes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from avemo.cache.clips import Clip
from avemo.extract.clip import ClipJob, extract_clip
from avemo.extract.plan import Plan
from avemo.extract.stopwatch import DECODE, DETECT, NETWORK, OPEN, REST, SOUND, WARP, Stopwatch, clocked
from avemo.extract.streams.registry import keys_of


@clocked("inner")
def slow() -> int:
    time.sleep(0.05)
    return 3


@clocked("items")
def items() -> Iterator[int]:
    for number in range(2):
        time.sleep(0.05)
        yield number


def test_a_stage_within_another_takes_its_own_time_from_it() -> None:
    watch = Stopwatch()
    with watch.running():
        with watch.stage("outer"):
            time.sleep(0.1)
            assert slow() == 3
            for _ in items():  # what is done with an item is not the generator's time
                time.sleep(0.1)
        time.sleep(0.02)
    wall = {name: spent.wall for name, spent in watch.spent.items()}
    assert wall == {
        "outer": pytest.approx(0.3, abs=0.05),
        "inner": pytest.approx(0.05, abs=0.03),
        "items": pytest.approx(0.1, abs=0.03),
        REST: pytest.approx(0.02, abs=0.02),
    }
    assert sum(spent.busy for spent in watch.spent.values()) < 0.1  # sleep takes no processor time


def test_an_error_ends_its_stage_alone() -> None:
    @clocked("bad")
    def bad() -> None:
        raise ValueError

    watch = Stopwatch()
    with watch.running():
        with pytest.raises(ValueError):
            bad()
        slow()
    assert slow() == 3  # no stopwatch runs
    assert {*watch.spent} == {REST, "bad", "inner"}
    assert watch.spent["bad"].wall < 0.02 and watch.spent["inner"].wall < 0.1


def test_the_stages_of_a_clip_are_all_of_its_time(make_clip: Callable[..., Path], tmp_path: Path) -> None:
    plan = Plan(device="cpu")
    job = ClipJob(Clip("a", "all", str(make_clip(tmp_path / "a.mp4", frames=6))), keys_of(plan))
    result = extract_clip(plan, job, tmp_path)
    assert not result.failure
    assert {*result.stages} == {OPEN, DECODE, DETECT, WARP, NETWORK, SOUND, REST}
    assert all(spent.wall > 0 for spent in result.stages.values())
    total = sum(spent.wall for spent in result.stages.values())
    assert 0.8 * result.seconds < total <= result.seconds
