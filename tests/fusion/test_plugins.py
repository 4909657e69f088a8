"""Heads of the user's own: known to every command, and to processes that train beside the first."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from avemo.fusion.evaluation.scores import Scores

from ..pipelines.test_fuse_cli import QUICK, fill

HEAD = """
from torch import nn
from avemo.fusion.heads.base import AttentiveHead, register

@register
class SumHead(AttentiveHead):
    name = "total"
    streams = ("audio",)

    def __init__(self, settings, features, classes):
        super().__init__(settings, features, classes)
        self.classify = nn.Linear(self.sizes["audio"], classes)

    def forward(self, batch):
        return self.classify(self.attend(batch)["audio"])
"""


def fuse(plugins: object, *arguments: object) -> subprocess.CompletedProcess[str]:
    code = "from avemo.pipelines.cli.fuse import main; main()"
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        env={**os.environ, "AVEMO_HEADS": str(plugins)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fill(tmp_path_factory.mktemp("store") / "features")


@pytest.mark.slow
def test_a_head_of_ones_own_trains_in_processes_and_predicts(store: Path, tmp_path: Path) -> None:
    plugin = tmp_path / "own_head.py"
    plugin.write_text(HEAD)
    run, scores = tmp_path / "run", tmp_path / "scores.csv"
    options = ("--fusion", "total", "--members", 2, "--workers", 2, *QUICK)
    trained = fuse(plugin, "train", "--store", store, "--out", run, *options)
    assert trained.returncode == 0, trained.stderr
    predicted = fuse(plugin, "predict", run, store, "--out", scores)
    assert predicted.returncode == 0, predicted.stderr
    assert len(Scores.read(scores).clips) == 21
    without = fuse("", "predict", run, store, "--out", scores, "--overwrite")
    assert without.returncode == 2
    assert "no fusion 'total'" in without.stderr
    assert "AVEMO_HEADS" in without.stderr


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("own.py", None, "no such file"),
        ("own.txt", "", "Python files with heads"),
        ("own.py", "1 / 0", "ZeroDivisionError"),
        ("json.py", "", "another name"),
    ],
)
def test_files_that_cannot_be_used(
    store: Path, tmp_path: Path, name: str, text: str | None, expected: str
) -> None:
    if text is not None:
        (tmp_path / name).write_text(text)
    result = fuse(tmp_path / name, "train", "--store", store, "--out", tmp_path / "run")
    assert result.returncode == 2
    assert expected in result.stderr
    assert "Traceback" not in result.stderr
