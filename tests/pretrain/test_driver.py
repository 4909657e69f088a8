"""The driver of pre-training, from Python: it prints nothing, tells a listener, and knows its own weights."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import lightning_fabric as lightning
import numpy as np
import pytest
import torch

from avemo.extract.backbones import get
from avemo.pretrain.card import read_classifier
from avemo.pretrain.driver import Pretraining
from avemo.pretrain.listener import Listener
from avemo.pretrain.packed import PackedPictures
from avemo.pretrain.pictures import PictureSet
from avemo.pretrain.recipe import TrainingRecipe
from avemo.pretrain.tasks import FaceTask
from avemo.pretrain.training import EpochFigures

CLASSES = ("Happy", "Sad")


class Notes(Listener):
    """Keeps what it hears; stops a training after so many steps."""

    def __init__(self, stop: int = 0) -> None:
        self.stop, self.heard = stop, list[str]()

    @contextmanager
    def counting(self, what: str, unit: str, total: int, done: int = 0) -> Iterator[Callable[..., None]]:
        steps = done

        def advance(count: int = 1, loss: float = 0.0) -> None:
            nonlocal steps
            steps += count
            if unit == "step" and steps == self.stop:
                raise KeyboardInterrupt

        yield advance
        self.heard.append(f"{steps} of {total} {unit}s")

    def on_resumed(self, checkpoint: Path, epochs: int) -> None:
        self.heard.append(f"resumed after {epochs}")

    def on_epoch(self, epoch: EpochFigures, epochs: int) -> None:
        self.heard.append(f"epoch {epoch.epoch} of {epochs}")


def job(out: Path, seed: int = 0) -> Pretraining:
    targets = np.arange(16) % 2
    pixels = np.random.default_rng(0).integers(0, 100, (16, 48, 48, 1)) + 100 * targets[:, None, None, None]
    packed = PackedPictures(
        classes=CLASSES,
        pixels=pixels.astype(np.uint8),
        labels=np.eye(2, dtype=np.float32)[targets],
        parts=np.array(["train"] * 12 + ["val"] * 4),
        groups=np.arange(16),
        skipped=(),
    )
    task = FaceTask(get("ferplusnet"), packed, PictureSet("drawn", CLASSES, (), licence="ours"))
    return Pretraining(task, TrainingRecipe(epochs=2, batch=4, learning_rate=0.02, seed=seed), out)


def run(job: Pretraining, listener: Listener) -> None:
    job.run(lightning.Fabric(accelerator="cpu", devices=1), "fp32", listener)


def test_stopped_and_gone_on_with_it_ends_as_undisturbed(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    whole, parts = tmp_path / "whole.safetensors", tmp_path / "parts.safetensors"
    notes = Notes()
    run(job(whole), notes)
    assert notes.heard == ["epoch 1 of 2", "epoch 2 of 2", "6 of 6 steps", "4 of 4 pictures"]
    with pytest.raises(KeyboardInterrupt):
        run(job(parts), Notes(stop=5))
    assert job(parts).checkpoint.exists() and not job(parts).done
    notes = Notes()
    run(job(parts), notes)
    assert notes.heard == ["resumed after 1", "epoch 2 of 2", "6 of 6 steps", "4 of 4 pictures"]
    assert not job(parts).checkpoint.exists()
    one, two = (read_classifier(path)[0].state_dict() for path in (whole, parts))
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert capfd.readouterr().out == ""


def test_it_knows_the_weights_of_this_very_training(tmp_path: Path) -> None:
    out = tmp_path / "mine.safetensors"
    run(job(out), Listener())
    assert job(out).done and not job(out, seed=1).done
    card = json.loads(out.with_suffix(".json").read_text())
    assert {*card["identity"]} == {"architecture", "recipe", "data"}  # as in trainings begun before
    assert card["counts"] == {"fitted": {"Happy": 6, "Sad": 6}, "held_out": {"Happy": 2, "Sad": 2}}
    assert card["data"]["licence"] == "ours" and np.sum(card["held_out"]["none"]["confusion"]) == 4
