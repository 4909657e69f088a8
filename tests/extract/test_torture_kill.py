"""The kill test in small: real extraction, killed and resumed (:mod:`tests.torture.kill`)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="sees in /proc which processes live")
def test_a_run_that_is_killed_loses_and_leaves_nothing(
    make_clip: Callable[..., Path], tmp_path: Path
) -> None:
    from tests.torture.kill import Killer

    clips = tmp_path / "clips"
    clips.mkdir()
    for number in range(4):
        make_clip(clips / f"{number}.mp4", 3)
    problems: list[str] = []
    killer = Killer(clips, tmp_path, 1, problems.append)
    killer.until(2)
    assert sum(killer.kills.values()) >= 2 and killer.stores >= 1
    assert problems == []
