"""A share of the trials of :mod:`tests.torture.crash`; they find a store that breaks a promise."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from avemo.cache import durable

pytestmark = pytest.mark.skipif(
    not hasattr(os, "fork") or not Path("/proc/self/fd").exists() or sys.version_info < (3, 11),
    reason="it forks, reads /proc, and replaces functions that Python 3.10's pathlib keeps to itself",
)


def test_no_promise_is_broken_wherever_the_process_is_stopped(tmp_path: Path) -> None:
    from tests.torture.crash import run

    found = list(run(tmp_path, share=0.06))

    assert sum(tested.trials for tested in found) > 200
    assert [problem for tested in found for problem in tested.problems] == []


@pytest.mark.parametrize(("name", "way"), [("write", "cut"), ("write", "cut, names kept"), ("create", "cut")])
def test_a_store_that_does_not_sync_is_found_out(
    name: str, way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.torture.crash import trial, undisturbed

    tested = undisturbed(name, tmp_path)
    assert not trial(tested, way, tested.points, tmp_path)

    monkeypatch.setattr(durable, "sync", lambda path: None)

    careless = undisturbed(name, tmp_path)
    assert any(trial(careless, way, at, tmp_path) for at in range(careless.points + 1))
