"""The work behind ``avemo-fuse`` from Python: settings in, results out, nothing is printed."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import FrozenInstanceError
from pathlib import Path

import numpy as np
import pytest

from avemo.fusion.errors import FusionError
from avemo.fusion.evaluation.scores import Scores
from avemo.pipelines.fuse.cv import cross_validate
from avemo.pipelines.fuse.predict import predict
from avemo.pipelines.fuse.settings import (
    CrossValidationSettings,
    HeadTraining,
    ScoringSettings,
    TrainSettings,
)
from avemo.pipelines.fuse.train import train

from .test_fuse_cli import fill

QUICK = {"epochs": 2, "batch": 8, "device": "cpu", "workers": 1, "hidden": 4, "outputs": 4, "factors": 2}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fill(tmp_path_factory.mktemp("store") / "features")


def test_training_and_prediction_are_calls(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    done = train(TrainSettings(store=store, out=tmp_path / "run", members=2).changed(**QUICK))
    assert len(done.members) == 2 and set(done.files) == {"train", "val", "test"}
    scored = predict(ScoringSettings((tmp_path / "run", store), out=tmp_path / "s.csv", device="cpu"))
    np.testing.assert_array_equal(scored.scores.select("val").values, Scores.read(done.files["val"]).values)
    assert capsys.readouterr().out == ""


def test_cross_validation_is_a_call(store: Path, tmp_path: Path) -> None:
    outcome = cross_validate(CrossValidationSettings(store=store, out=tmp_path / "cv").changed(**QUICK))
    assert len(outcome.design.folds) == 3 and len(outcome.mean.clips) == 18


def test_a_key_that_does_nothing_is_refused_here_too(store: Path, tmp_path: Path) -> None:
    with pytest.raises(FusionError, match="the fusion fbp has no trunks"):
        train(TrainSettings(store=store, out=tmp_path / "run").changed(trunks=3))
    with pytest.raises(FusionError, match="the fusion audio has no factors"):
        train(TrainSettings(store=store, out=tmp_path / "run", fusion="audio").changed(factors=3))
    assert not (tmp_path / "run").exists()


def test_settings_are_frozen_and_changed_ones_are_others() -> None:
    plain = TrainSettings()
    changed = plain.changed(fusion="am-fbp", trunks=3).changed(ag_norm=True)
    assert (changed.fusion, changed.head) == ("am-fbp", {"trunks": 3, "ag_norm": True})
    assert plain == TrainSettings() and isinstance(changed, HeadTraining)
    with pytest.raises(FrozenInstanceError):
        plain.epochs = 3  # type: ignore[misc]


def test_settings_import_neither_click_nor_torch() -> None:
    code = "import sys, avemo.pipelines.fuse.settings; print({'click', 'torch', 'numpy'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
