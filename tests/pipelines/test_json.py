"""``--json``: the result alone on standard output, as the text and the files have it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from avemo.fusion.evaluation.metrics import summary
from avemo.fusion.evaluation.scores import Scores
from avemo.pipelines.cli.extract import main as extract
from avemo.pipelines.cli.fuse import main as fuse

from .test_fuse_cli import QUICK, fill


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fill(tmp_path_factory.mktemp("store") / "features")


def told(result: Result) -> Any:
    """What stands on standard output, all of which is one JSON value."""
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def run(*arguments: object) -> Result:
    return CliRunner().invoke(fuse, [*map(str, arguments), "--json"])


def test_a_run_and_its_ensemble(store: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    result = run("train", "--store", store, "--out", out, "--members", 2, *QUICK)
    trained = told(result)
    figures = {line["name"]: line for line in trained["figures"]["val"]}
    assert list(figures) == ["member 0", "member 1", "ensemble", "ensemble, clips with a face"]
    assert trained["run"] == str(out)
    expected = summary(Scores.read(Path(trained["scores"]["val"])))
    assert (figures["ensemble"]["accuracy"], figures["ensemble"]["uar"]) == (expected.accuracy, expected.uar)
    assert f"{expected.accuracy:.3f}" in result.stderr

    averaged = told(run("ensemble", out, "--split", "val", "--out", tmp_path / "out"))
    assert averaged["figures"]["val"][-1]["accuracy"] == pytest.approx(expected.accuracy)
    assert all(map(Path.exists, map(Path, averaged["wrote"])))


def test_a_cross_validation(store: Path, tmp_path: Path) -> None:
    found = told(run("cv", "--store", store, "--folds", "subject", "--out", tmp_path / "cv", *QUICK))
    expected = summary(Scores.read(tmp_path / "cv" / "scores.csv"))
    assert (found["accuracy"], found["uar"]) == (expected.accuracy, expected.uar)
    assert {"summary", "members"} <= {*found["tables"]}


def test_an_extraction_names_what_failed(tmp_path: Path, make_clip: Any) -> None:
    folder = tmp_path / "clips" / "Happy"
    folder.mkdir(parents=True)
    make_clip(folder / "good.mp4")
    (folder / "bad.mp4").write_text("no video")
    arguments = [tmp_path / "clips", "--store", tmp_path / "store", "--tta", "none", "--workers", 1, "--json"]
    result = CliRunner().invoke(extract, [*map(str, arguments)])
    found = json.loads(result.stdout)
    assert result.exit_code == 1
    assert list(found["failed"]) == ["all/Happy/bad"]
    assert [(split["clips"], split["failed"]) for split in found["splits"]] == [(2, 1)]


def test_wrong_input_prints_no_json(tmp_path: Path) -> None:
    result = run("train", "--store", tmp_path / "none", "--out", tmp_path / "run")
    assert result.exit_code == 2
    assert result.stdout == ""
