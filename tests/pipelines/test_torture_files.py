"""A few of the inputs of :mod:`tests.torture.files`; each is refused in one line, or is read right."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from click.testing import CliRunner

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


def test_make_torture_runs_every_part_and_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.torture import __main__ as torture

    log = tmp_path / "log"
    note = f"open({str(log)!r}, 'a').write"
    made = {
        "bad": (("-c", f"{note}('bad ')\nprint('told')\nraise SystemExit(3)"), "a second"),
        "good": (("-c", f"{note}('good ')"), "a second"),
        "media": ((), "never"),
    }
    monkeypatch.setattr(torture, "parts", lambda films: made)
    options = ["--reports", str(tmp_path / "reports"), "--films", str(tmp_path / "none")]
    for _ in range(2):
        result = CliRunner().invoke(torture.main, options)
        assert result.exit_code == 1 and "bad         BROKEN" in result.output
        assert "good        all promises held" in result.output and "media       skipped" in result.output
    assert log.read_text() == "bad good bad "  # what held is not done again
    assert (tmp_path / "reports" / "bad.txt").read_text().startswith("told\n")
    assert CliRunner().invoke(torture.main, [*options, "good"]).exit_code == 0
    assert CliRunner().invoke(torture.main, [*options, "soap"]).exit_code == 2
