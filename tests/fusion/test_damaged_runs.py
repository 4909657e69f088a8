"""Run folders that a disk, or a stranger, changed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

from avemo.fusion.errors import FusionError
from avemo.fusion.evaluation.priors import from_file
from avemo.fusion.training.runs import Run
from avemo.fusion.training.training import Trained

FIRST_RELEASE = Path(__file__).parents[1] / "data" / "first-release" / "run-fbp"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run whose members this version wrote."""
    shutil.copytree(FIRST_RELEASE, tmp_path / "run")
    run = Run(tmp_path / "run")
    for number in range(run.members):
        run.save(number, Trained(run.load(number), tuple(run.history(number)), np.empty(0)))
    return tmp_path / "run"


def test_a_member_that_changed_is_found_out(folder: Path) -> None:
    path = folder / "member-000.safetensors"
    Run(folder).load(0)
    content = bytearray(path.read_bytes())
    content[-1] ^= 64
    path.write_bytes(content)
    with pytest.raises(FusionError, match="its checksum differs; delete it"):
        Run(folder).load(0)


def test_a_member_without_a_history_says_so(folder: Path) -> None:
    path = folder / "member-000.safetensors"
    save_file(load_file(path), path)
    Run(folder).load(0)  # it needs none
    with pytest.raises(FusionError, match="has no history"):
        Run(folder).history(0)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("classes", [1, 2]),
        ("features", {"visual": {"name": "f-mean:dlib", "streams": {}, "dimensions": 2}}),
        ("features", {"visual": {"name": {}, "streams": {"dlib/default": {}}, "dimensions": 2}}),
    ],
)
def test_a_card_that_makes_no_sense_is_one_error(folder: Path, name: str, value: Any) -> None:
    card = json.loads((folder / "run.json").read_text())
    card["settings"][name] = value
    (folder / "run.json").write_text(json.dumps(card))
    with pytest.raises(FusionError, match="is invalid"):
        Run(folder)


def test_a_card_of_more_members_than_anybody_trains_is_one_error(folder: Path) -> None:
    card = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps({**card, "members": 10**400}))
    with pytest.raises(FusionError, match="is invalid"):
        Run(folder)


@pytest.mark.parametrize("weights", ['{"a": 1%s, "b": 1}' % ("0" * 400), '{"a": 1, "a": 2}', "[" * 100_000])
def test_weights_that_no_number_holds_are_one_error(tmp_path: Path, weights: str) -> None:
    (tmp_path / "prior.json").write_text(weights)
    with pytest.raises(FusionError):
        from_file(tmp_path / "prior.json")
