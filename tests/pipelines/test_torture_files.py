"""A few of the inputs of :mod:`tests.torture.files`; each is refused in one line, or is read right."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(
    not hasattr(os, "fork") or not Path("/proc/self/statm").exists(), reason="it forks, and reads /proc"
)


@pytest.mark.filterwarnings("ignore")
def test_no_changed_file_ends_in_a_traceback_or_a_wrong_result(tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    from tests.torture.files import run

    found = list(run(tmp_path, count=210, seed=1))

    assert sum(tried.outcomes.total() for tried in found) == 210
    assert [problem for tried in found for problem in tried.problems] == []
