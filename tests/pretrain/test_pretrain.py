"""Pre-training: changes to pictures, held-out parts, the loop, weights with their card, the command."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import cv2
import lightning_fabric as lightning
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from torch import nn

from avemo.extract import DEFAULT_BACKBONE
from avemo.extract.align import compose, window_transform
from avemo.extract.backbones import WeightsError, get, load_backbone, random_backbone
from avemo.extract.backbones.ferresnet import FerResNet
from avemo.extract.backbones.specs import FERRESNET as SPEC
from avemo.extract.digest import sha256_of
from avemo.extract.views import VIEW_SETS
from avemo.fusion.evaluation import calibration as clips
from avemo.fusion.evaluation.scores import Scores
from avemo.pipelines.cli.main import main
from avemo.pretrain.augment import augment, plain, warp_to_view
from avemo.pretrain.calibration import calibration
from avemo.pretrain.card import empty_classifier, read_classifier, write_weights
from avemo.pretrain.classifier import Classifier
from avemo.pretrain.errors import PretrainError
from avemo.pretrain.evaluation import Computing, Performance, mean_probabilities, outputs
from avemo.pretrain.packed import PackedPictures
from avemo.pretrain.recipe import Augmentation, TrainingRecipe
from avemo.pretrain.samples import FaceSamples, FeatureSamples
from avemo.pretrain.specs import Normalisation
from avemo.pretrain.split import fitted_and_held_out
from avemo.pretrain.teachers import Teachers
from avemo.pretrain.training import Training

STILL = Augmentation(flip=False, rotate=0, scale=1, shift=0, light=0, blur=0, noise=0, erase=0)
CLASSES = ("Angry", "Happy", "Sad")
CPU = Computing("cpu", "fp32")


def pictures(count: int = 60, size: int = 16, seed: int = 0, parts: str = "") -> PackedPictures:
    """Noise with a bright bar whose place is the class: learnt at once, never by chance."""
    draw = np.random.default_rng(seed)
    targets = np.arange(count) % len(CLASSES)
    pixels = draw.integers(0, 120, (count, size, size, 1), dtype=np.uint8)
    for picture, target in zip(pixels, targets, strict=True):
        picture[2 + 5 * target : 5 + 5 * target] += 130
    labels = np.eye(len(CLASSES), dtype=np.float32)[targets]
    return PackedPictures(
        classes=CLASSES,
        pixels=pixels,
        labels=labels,
        parts=np.full(count, parts),
        groups=np.arange(count),
        skipped=(),
    )


def small_classifier(size: int = 16) -> Classifier:
    torch.manual_seed(0)
    trunk = nn.Sequential(
        nn.Conv2d(1, 6, 3, 2), nn.BatchNorm2d(6), nn.ReLU(), nn.AdaptiveAvgPool2d(4), nn.Flatten()
    )
    return Classifier(trunk, 96, len(CLASSES), 0.2)


def training(
    tmp_path: Path, recipe: TrainingRecipe, packed: PackedPictures | None = None, **changes: object
) -> Training:
    packed = packed or pictures()
    samples = FaceSamples(packed, Normalisation(16, (0.0,), (255.0,)), recipe)
    rows = np.arange(len(packed.labels))
    fabric = lightning.Fabric(accelerator="cpu", devices=1, precision="32-true")
    identity = {"recipe": recipe.settings(), **changes}
    return Training(
        fabric, small_classifier(), samples, rows[:45], rows[45:], recipe, identity, tmp_path / "state.ckpt"
    )


RECIPE = TrainingRecipe(
    epochs=6, batch=8, learning_rate=0.05, warm_up=1, ema=0.9, mixup=0.2, small_size=12, seed=3
)


class TestChanges:
    def test_none_leaves_pictures_as_they_are(self) -> None:
        pixels = torch.from_numpy(pictures().pixels)
        assert torch.allclose(augment(pixels, 16, STILL, torch.Generator()), plain(pixels, 16), atol=1e-3)

    @pytest.mark.parametrize("channels", [1, 3])
    def test_same_seed_same_changes_within_range(self, channels: int) -> None:
        pixels = torch.from_numpy(pictures().pixels).expand(-1, -1, -1, channels)
        one, two, other = (
            augment(pixels, 12, Augmentation(), torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)
        )
        assert one.shape == (60, channels, 12, 12)
        assert torch.equal(one, two)
        assert not torch.equal(one, other)
        assert one.min() >= 0 and one.max() <= 255

    def test_flip_mirrors_about_half(self) -> None:
        pixels = torch.from_numpy(pictures(400).pixels)
        flipped = augment(pixels, 16, replace(STILL, flip=True), torch.Generator().manual_seed(0))
        unchanged = (flipped - plain(pixels, 16)).abs().amax((1, 2, 3)) < 1
        mirrored = (flipped - plain(pixels, 16).flip(3)).abs().amax((1, 2, 3)) < 1
        assert (unchanged ^ mirrored).all()
        assert 150 < mirrored.sum() < 250

    def test_noise_and_erasing_have_the_stated_size(self) -> None:
        grey = torch.full((300, 32, 32, 1), 128, dtype=torch.uint8)
        noisy = augment(grey, 32, replace(STILL, noise=9.0), torch.Generator().manual_seed(0))
        deviations = noisy.std((1, 2, 3))
        assert deviations.max() < 9.6
        assert 3.5 < deviations.mean() < 5.5
        ramp = torch.arange(0, 256, 8, dtype=torch.uint8).reshape(1, 1, 32, 1).expand(300, 32, 32, 1)
        erased = augment(ramp, 32, replace(STILL, erase=1.0), torch.Generator().manual_seed(0))
        share = ((erased - plain(ramp, 32)).abs() > 0.01).float().mean((1, 2, 3))
        assert share.min() > 0.01 and share.max() < 0.26

    def test_blur_is_opencvs(self) -> None:
        """One of many random widths is found again by blurring with it."""
        picture = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 255, (24, 24), np.uint8), (3, 3), 1)
        pixels = torch.from_numpy(picture)[None, :, :, None].expand(64, -1, -1, -1)
        blurred = augment(pixels, 24, replace(STILL, blur=1.0), torch.Generator().manual_seed(0))[
            :, 0
        ].numpy()
        widths = np.linspace(0.02, 1, 200)
        known = [
            cv2.GaussianBlur(picture.astype(np.float32), (5, 5), w, borderType=cv2.BORDER_REPLICATE)
            for w in widths
        ]
        distance = np.abs(blurred[:, None] - np.stack(known)[None]).max((2, 3)).min(1)
        assert distance.max() < 1.0
        assert 20 < (np.abs(blurred - picture).max((1, 2)) > 0.5).sum() < 44

    def test_a_view_is_opencvs(self) -> None:
        picture = cv2.GaussianBlur(
            np.random.default_rng(0).integers(0, 255, (48, 48, 3), np.uint8), (9, 9), 3
        )
        for matrix in VIEW_SETS["wide"].matrices(48):
            seen = warp_to_view(torch.from_numpy(picture)[None], matrix)[0].permute(1, 2, 0).numpy()
            wanted = cv2.warpAffine(
                picture.astype(np.float32), matrix, (48, 48), borderMode=cv2.BORDER_REPLICATE
            )
            assert np.abs(seen - wanted).max() < 2.0  # OpenCV rounds places to 1/32 of a pixel


class TestHeldOut:
    def test_every_class_in_its_share_and_no_group_on_both_sides(self) -> None:
        packed = pictures(300)
        packed = replace(packed, groups=np.arange(300) // 4)
        train_rows, held_out_rows = fitted_and_held_out(packed, 0.2, seed=1)
        assert sorted([*train_rows, *held_out_rows]) == list(range(300))
        assert not set(packed.groups[train_rows]) & set(packed.groups[held_out_rows])
        counts = np.bincount(packed.targets[held_out_rows])
        assert len(held_out_rows) == pytest.approx(60, abs=8)
        assert counts.min() >= 16

    def test_the_sets_own_part_is_used_and_test_is_in_neither(self) -> None:
        packed = pictures(60)
        packed = replace(packed, parts=np.array(["train"] * 30 + ["val"] * 12 + ["test"] * 18))
        train_rows, held_out_rows = fitted_and_held_out(packed, 0.1, seed=0)
        assert list(train_rows) == list(range(30))
        assert list(held_out_rows) == list(range(30, 42))

    def test_a_class_without_a_picture_is_named(self) -> None:
        packed = pictures(60)
        packed = replace(packed, parts=np.where(packed.targets == 1, "val", "train"))
        with pytest.raises(PretrainError, match="no picture to train on for Happy"):
            fitted_and_held_out(packed, 0.1, seed=0)

    def test_too_few_are_refused(self) -> None:
        with pytest.raises(PretrainError, match="too few to hold"):
            fitted_and_held_out(pictures(6), 0.1, seed=0)


class TestLoop:
    @pytest.mark.parametrize(("epochs", "small"), [(1, 0), (2, 1), (3, 2), (5, 3), (60, 36)])
    def test_the_last_epoch_has_the_full_size(self, epochs: int, small: int) -> None:
        recipe = TrainingRecipe(epochs=epochs, small_size=32)
        assert [recipe.size(epoch, 48) for epoch in range(epochs)] == [32] * small + [48] * (epochs - small)

    def test_it_learns_and_keeps_the_best_of_the_full_size(self, tmp_path: Path) -> None:
        seen: list[int] = []
        fitted = training(tmp_path, replace(RECIPE, epochs=15)).run(
            lambda loss: None, lambda e: seen.append(e.size)
        )
        assert seen == [12] * 9 + [16] * 6
        accuracies = [epoch.val_accuracy for epoch in fitted.history[9:]]
        assert fitted.best == 10 + int(np.argmax(accuracies))
        assert max(accuracies) > 0.9

    def test_same_seed_same_bits(self, tmp_path: Path) -> None:
        states = []
        for name in "ab":
            (tmp_path / name).mkdir()
            fitted = training(tmp_path / name, RECIPE).run(lambda loss: None, lambda epoch: None)
            states.append(fitted.classifier.state_dict())
        assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])

    @pytest.mark.parametrize("steps", [1, 7, 18])
    def test_stopped_and_gone_on_with_ends_as_the_undisturbed(self, tmp_path: Path, steps: int) -> None:
        for name in ("whole", "parts"):
            (tmp_path / name).mkdir()
        whole = training(tmp_path / "whole", RECIPE).run(lambda loss: None, lambda epoch: None)
        count = 0

        def stop(loss: float) -> None:
            nonlocal count
            count += 1
            if count == steps:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            training(tmp_path / "parts", RECIPE).run(stop, lambda epoch: None)
        again = training(tmp_path / "parts", RECIPE).run(lambda loss: None, lambda epoch: None)
        assert again.history == whole.history
        states = whole.classifier.state_dict(), again.classifier.state_dict()
        assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])

    def test_a_state_within_an_epoch_goes_on_exactly(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from avemo.pretrain import training as module

        monkeypatch.setattr(module, "_CHECK_EVERY", 2)
        monkeypatch.setattr(module, "_SAVE_EVERY", 2)
        self.test_stopped_and_gone_on_with_ends_as_the_undisturbed(tmp_path, 13)

    def test_another_recipe_is_not_gone_on_with(self, tmp_path: Path) -> None:
        training(tmp_path, replace(RECIPE, epochs=1)).run(lambda loss: None, lambda epoch: None)
        with pytest.raises(PretrainError, match=r"another recipe.*--overwrite"):
            training(tmp_path, RECIPE)

    def test_a_cut_state_is_told(self, tmp_path: Path) -> None:
        training(tmp_path, replace(RECIPE, epochs=1)).run(lambda loss: None, lambda epoch: None)
        file = tmp_path / "state.ckpt"
        file.write_bytes(file.read_bytes()[:1000])
        with pytest.raises(PretrainError, match="cannot be resumed"):
            training(tmp_path, replace(RECIPE, epochs=1))

    def test_a_loss_that_is_no_number_stops_and_keeps_the_last_state(self, tmp_path: Path) -> None:
        job = training(tmp_path, replace(RECIPE, epochs=8))
        weights = job._classifier.classes.weight

        def poison(epoch: object) -> None:
            if len(job.history) == 3:
                job.save()
                with torch.no_grad():
                    weights[0, 0] = torch.nan

        with pytest.raises(PretrainError, match=r"loss is nan.*--lr 0\.0125"):
            job.run(lambda loss: None, poison)
        kept = torch.load(tmp_path / "state.ckpt", weights_only=True)
        assert len(kept["history"]) == 3

    def test_too_little_memory_names_a_batch(self, tmp_path: Path) -> None:
        class Greedy(nn.Module):
            def forward(self, faces: torch.Tensor) -> torch.Tensor:
                return torch.empty(1 << 50)

        job = training(tmp_path, RECIPE)
        job._classifier.trunk = Greedy()
        with pytest.raises(PretrainError, match=r"out of memory with 8 samples a step: try --batch 4"):
            job.run(lambda loss: None, lambda epoch: None)

    def test_patience_stops(self, tmp_path: Path) -> None:
        recipe = replace(RECIPE, epochs=60, patience=2, small_size=0)
        fitted = training(tmp_path, recipe).run(lambda loss: None, lambda epoch: None)
        assert len(fitted.history) == fitted.best + 2 < 60

    def test_balanced_sampling_shows_each_class_as_often(self, tmp_path: Path) -> None:
        packed = pictures(60)
        targets = np.array([0] * 40 + [1] * 15 + [2] * 5)
        packed = replace(packed, labels=np.eye(3, dtype=np.float32)[targets])
        job = training(tmp_path, replace(RECIPE, balance="sampling"), packed)
        drawn = np.concatenate([job._order(epoch) for epoch in range(100)])
        shares = np.bincount(targets[drawn], minlength=3) / len(drawn)
        fitted = np.unique(targets[:45])
        assert np.allclose(shares[fitted], 1 / len(fitted), atol=0.02)

    def test_the_rate_rises_and_falls(self, tmp_path: Path) -> None:
        job = training(tmp_path, replace(RECIPE, epochs=4, warm_up=1))
        rates = []
        for step in range(4 * job.steps_an_epoch):
            job._step = step
            rates.append(job._learning_rate())
        top = int(np.argmax(rates))
        assert rates[top] == pytest.approx(0.05)
        assert top in (job.steps_an_epoch - 1, job.steps_an_epoch)
        assert np.all(np.diff(rates[:top]) > 0) and np.all(np.diff(rates[top + 1 :]) < 0)
        assert rates[-1] < 0.001

    def test_a_layer_on_frozen_features(self, tmp_path: Path) -> None:
        packed = pictures()
        features = packed.pixels.reshape(60, 1, -1).astype(np.float32) / 255
        samples = FeatureSamples(CLASSES, packed.labels, np.repeat(features, 2, 1))
        rows = np.arange(60)
        recipe = TrainingRecipe(epochs=30, batch=8, learning_rate=0.05, ema=0.9, dropout=0)
        fabric = lightning.Fabric(accelerator="cpu", devices=1)
        head = Classifier(nn.Identity(), 256, 3, 0)
        job = Training(fabric, head, samples, rows[:45], rows[45:], recipe, {}, tmp_path / "state.ckpt")
        fitted = job.run(lambda loss: None, lambda epoch: None)
        assert fitted.history[fitted.best - 1].val_accuracy == 1.0


class TestEvaluation:
    def test_figures_by_hand(self) -> None:
        said = np.array([[0.9, 0.1, 0], [0.2, 0.8, 0], [0.6, 0.3, 0.1], [0, 0.4, 0.6]])
        found = Performance.of(CLASSES, np.eye(3)[[0, 0, 0, 2]], said).summary
        assert found.confusion.tolist() == [[2, 1, 0], [0, 0, 0], [0, 0, 1]]
        assert found.accuracy == 0.75
        assert found.recalls == {"Angry": pytest.approx(2 / 3), "Sad": 1.0}
        assert found.uar == pytest.approx(5 / 6)

    def test_views_are_averaged_and_the_plain_one_comes_first(self) -> None:
        packed = pictures()
        samples = FaceSamples(packed, Normalisation(16, (0.0,), (255.0,)), RECIPE)
        network, rows = small_classifier(), np.arange(60)
        logits = outputs(network, samples, rows, VIEW_SETS["default"], CPU, lambda done: None)
        alone = outputs(network, samples, rows[:7], VIEW_SETS["none"], CPU, lambda done: None)
        assert logits.shape == (60, 18, 3)
        assert np.allclose(logits[:7, :1], alone, atol=1e-5)
        exp = np.exp(logits.astype(np.float64))
        assert np.allclose(mean_probabilities(logits), (exp / exp.sum(-1, keepdims=True)).mean(1))


class TestCalibration:
    @staticmethod
    def drawn(count: int, hotter: float, voters: int) -> tuple[np.ndarray, np.ndarray]:
        """The shares of so many votes, drawn from probabilities; and those, raised to ``hotter``."""
        draw = np.random.default_rng(0)
        true = draw.dirichlet([0.7, 0.7, 0.7], count)
        votes = np.array([draw.multinomial(voters, row) for row in true]) / voters
        claimed = true**hotter
        return votes, claimed / claimed.sum(1, keepdims=True)

    @pytest.mark.parametrize("voters", [1, 10])
    @pytest.mark.parametrize("hotter", [0.5, 1.0, 2.5])
    def test_the_temperature_that_was_put_in_is_found(self, voters: int, hotter: float) -> None:
        labels, claimed = self.drawn(20_000, hotter, voters)
        found = calibration(labels, claimed)
        assert found.temperature == pytest.approx(hotter, rel=0.05)
        assert found.tempered_loss <= found.loss
        if voters == 1:
            assert found.tempered_error < 0.015

    def test_by_hand(self) -> None:
        """0.9 three times, two of them right, and 0.6 once, which is wrong."""
        labels = np.array([[1, 0], [0.6, 0.4], [1, 0], [0, 1]])
        said = np.array([[0.9, 0.1], [0.9, 0.1], [0.1, 0.9], [0.6, 0.4]])
        found = calibration(labels, said)
        assert found.error == pytest.approx(1 / 4 * 0.6 + 3 / 4 * (0.9 - 2 / 3))
        wanted = -(np.log(0.9) + 0.6 * np.log(0.9) + 0.4 * np.log(0.1) + np.log(0.1) + np.log(0.4)) / 4
        assert found.loss == pytest.approx(wanted)

    def test_of_one_hot_labels_it_is_that_of_clips(self) -> None:
        labels, said = self.drawn(500, 2.0, 1)
        scores = Scores(
            tuple(("val", str(i)) for i in range(500)),
            CLASSES,
            said,
            tuple(CLASSES[i] for i in labels.argmax(1)),
        )
        found = calibration(labels, said)
        assert found.error == pytest.approx(clips.expected_calibration_error(scores))
        assert found.temperature == pytest.approx(clips.temperature(scores), rel=1e-4)


def test_the_same_weights_are_the_same_bytes(tmp_path: Path) -> None:
    """The library writes metadata in random order, and the sum of the weights is in every key."""
    classifier, path = empty_classifier(SPEC, 3), tmp_path / "w.safetensors"
    card = {"architecture": "ferresnet", "classes": CLASSES}
    sums = {write_weights(path, classifier, card)["sha256"] for _ in range(12)}
    assert len(sums) == 1


class TestTeachers:
    @pytest.fixture()
    def file(self, tmp_path: Path) -> Path:
        torch.manual_seed(1)
        path = tmp_path / "teacher.safetensors"
        classes = [*reversed(CLASSES)]
        write_weights(path, empty_classifier(SPEC, 3), {"architecture": "ferresnet", "classes": classes})
        return path

    @staticmethod
    def said(path: Path, faces: torch.Tensor) -> torch.Tensor:
        classifier, _, classes = read_classifier(path)
        with torch.no_grad():
            said = classifier(Normalisation.of(SPEC)(faces)).softmax(1)
        return said[:, [classes.index(name) for name in CLASSES]]

    def test_their_mean_stands_beside_the_labels_in_the_students_order(
        self, file: Path, tmp_path: Path
    ) -> None:
        torch.manual_seed(2)
        other = tmp_path / "other.safetensors"
        write_weights(other, empty_classifier(SPEC, 3), {"architecture": "ferresnet", "classes": CLASSES})
        faces, labels = torch.rand(4, 1, 48, 48) * 255, torch.eye(3)[[0, 1, 2, 0]]
        targets = Teachers([file, other], SPEC, CLASSES, 0.25).targets(Normalisation.of(SPEC)(faces), labels)
        wanted = (self.said(file, faces) + self.said(other, faces)) / 2
        assert torch.allclose(targets, 0.75 * labels + 0.25 * wanted, atol=1e-5)
        assert not targets.requires_grad

    @pytest.mark.parametrize("student", ["mobilefacenet", "irse50", "resnet18-imagenet"])
    def test_a_student_of_other_pictures(self, student: str, file: Path) -> None:
        """Grey pictures of the same size say the same, however the student has them."""
        spec = get(student)
        faces = torch.rand(3, 1, 48, 48) * 255
        theirs = Normalisation.of(spec)(faces.expand(-1, 3, -1, -1))
        found = Teachers([file], spec, CLASSES, 1.0)(theirs)
        assert torch.allclose(found, self.said(file, faces), atol=1e-3)

    def test_a_teacher_of_other_pictures(self, tmp_path: Path) -> None:
        torch.manual_seed(3)
        path = tmp_path / "colour.safetensors"
        classifier = empty_classifier(get("mobilefacenet"), 3).eval()
        write_weights(path, classifier, {"architecture": "mobilefacenet", "classes": CLASSES})
        faces = torch.full((2, 1, 48, 48), 77.0)
        with torch.no_grad():
            plain_grey = torch.full((2, 3, 112, 112), 77.0)
            wanted = classifier(Normalisation.of(get("mobilefacenet"))(plain_grey)).softmax(1)
        found = Teachers([path], SPEC, CLASSES, 1.0)(Normalisation.of(SPEC)(faces))
        assert torch.allclose(found, wanted, atol=1e-4)

    def test_other_classes_are_refused(self, file: Path) -> None:
        with pytest.raises(
            PretrainError, match="Sad, Happy, Angry, but the pictures are of Angry, Fear, Sad"
        ):
            Teachers([file], SPEC, ("Angry", "Fear", "Sad"), 0.5)


class TestWeights:
    @pytest.fixture()
    def written(self, tmp_path: Path) -> tuple[Path, Classifier]:
        torch.manual_seed(0)
        classifier = empty_classifier(SPEC, 3).eval()
        path = tmp_path / "mine.safetensors"
        write_weights(path, classifier, {"architecture": "ferresnet", "classes": list(CLASSES)})
        return path, classifier

    def test_round_trip(self, written: tuple[Path, Classifier]) -> None:
        path, classifier = written
        again, spec, classes = read_classifier(path)
        faces = torch.rand(2, 1, 48, 48)
        assert (spec, classes) == (SPEC, CLASSES)
        with torch.no_grad():
            assert torch.equal(again(faces), classifier(faces))
        card = json.loads(path.with_suffix(".json").read_text())
        import hashlib

        assert card["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()

    def test_stage_one_gives_the_same_features(self, written: tuple[Path, Classifier]) -> None:
        path, classifier = written
        views = np.random.default_rng(0).integers(0, 256, (5, 48, 48, 3), np.uint8)
        features = load_backbone(f"ferresnet@{path}", precision="fp32")(views)
        grey = np.stack([cv2.cvtColor(view, cv2.COLOR_RGB2GRAY) for view in views])[:, None] / 255
        with torch.no_grad():
            wanted = classifier.trunk(torch.from_numpy(grey).float())
        assert features.shape == (5, 512)
        assert torch.allclose(features, wanted, atol=0.02 * float(wanted.max()))  # OpenCV rounds the grey

    def test_half_precision_is_half_the_size_and_close(self, tmp_path: Path) -> None:
        torch.manual_seed(0)
        classifier = empty_classifier(SPEC, 3).eval()
        path = tmp_path / "half.safetensors"
        write_weights(path, classifier, {"architecture": "ferresnet", "classes": list(CLASSES)}, half=True)
        assert path.stat().st_size < 12e6
        faces = torch.rand(2, 1, 48, 48)
        with torch.no_grad():
            assert torch.allclose(read_classifier(path)[0](faces), classifier(faces), atol=5e-3)

    def test_a_file_without_classes_is_told(self, tmp_path: Path) -> None:
        import safetensors.torch

        path = tmp_path / "other.safetensors"
        safetensors.torch.save_file({"a": torch.zeros(1)}, path)
        with pytest.raises(WeightsError, match="does not name its classes"):
            read_classifier(path)


class TestNetwork:
    def test_batched_equals_single_and_light_does_not_matter(self) -> None:
        torch.manual_seed(0)
        network = FerResNet().eval()
        faces = torch.rand(4, 1, 48, 48) * 0.4
        with torch.no_grad():
            together = network(faces)
            assert torch.allclose(together[1:2], network(faces[1:2]), atol=1e-5)
            assert torch.allclose(together, network(faces * 2 + 0.1), atol=1e-4)
            assert torch.isfinite(network(torch.zeros(1, 1, 48, 48))).all()
            assert network(torch.rand(1, 1, 36, 36)).shape == (1, 512)

    def test_a_window_is_cut_from_the_chip(self) -> None:
        whole = window_transform((0, 0, 1), 224, 48)
        assert np.allclose(whole @ [-0.5, -0.5, 1], -0.5) and np.allclose(whole @ [223.5, 223.5, 1], 47.5)
        part = window_transform((0.25, 0.5, 0.5), 200, 50)
        assert np.allclose(part @ [49.5, 99.5, 1], -0.5) and np.allclose(part @ [149.5, 199.5, 1], 49.5)
        assert np.allclose(compose(part, np.eye(3)[:2]), part)

    def test_it_runs_in_the_fast_path(self) -> None:
        views = np.random.default_rng(0).integers(0, 256, (3, 48, 48, 3), np.uint8)
        for name in ("ferresnet", "ferplusnet"):
            full, fast = (random_backbone(name, precision=p)(views) for p in ("fp32", "bf16"))
            assert torch.nn.functional.cosine_similarity(full, fast).min() > 0.999


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("pictures")
    packed = pictures(60, size=48)
    for place, (picture, target) in enumerate(zip(packed.pixels, packed.targets, strict=True)):
        file = root / CLASSES[target] / f"{place:03}.png"
        file.parent.mkdir(exist_ok=True)
        cv2.imwrite(str(file), picture)
    return root


class TestCommand:
    QUICK = ("--epochs", "2", "--batch", "16", "--lr", "0.02", "--device", "cpu", "--held-out", "0.2")

    def run(self, *words: object) -> tuple[int, str]:
        result = CliRunner().invoke(main, ["pretrain", "face", *map(str, words)], prog_name="avemo")
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result.exit_code, result.output

    def test_train_evaluate_and_use(self, folders: Path, tmp_path: Path) -> None:
        out = tmp_path / "mine.safetensors"
        code, text = self.run("--data", folders, "--out", out, *self.QUICK)
        assert code == 0, text
        assert "to fit 48 pictures; held out 12 pictures" in text
        card = json.loads(out.with_suffix(".json").read_text())
        assert card["classes"] == list(CLASSES)
        assert sum(card["counts"]["fitted"].values()) == 48
        assert card["held_out"].keys() == {"none"}  # one look at each picture, unless more are asked for
        assert set(card["held_out"]["none"]["recall"]) == set(CLASSES)
        assert card["held_out"]["none"]["calibration"]["temperature"] > 0
        assert not out.with_suffix(".ckpt").exists()
        code, text = self.run("--data", folders, "--out", out, *self.QUICK)
        assert code == 0 and "trained already" in text
        code, text = self.run("--evaluate", "--weights", out, "--data", folders)
        assert code == 0
        assert "calibration: cross entropy" in text
        *_, last = text.strip().splitlines()
        assert last.startswith("accuracy 0.") and "  UAR 0." in last
        views = np.zeros((1, 48, 48, 3), np.uint8)
        assert load_backbone(f"{DEFAULT_BACKBONE}@{out}")(views).shape == (1, 512)

    @pytest.mark.skipif(
        torch.cuda.is_available() or torch.backends.mps.is_available(), reason="here is a GPU"
    )
    @pytest.mark.parametrize("kind", ["cuda", "cuda:1"])
    def test_a_device_that_is_not_there_is_told_at_once(
        self, folders: Path, tmp_path: Path, kind: str
    ) -> None:
        out = tmp_path / "mine.safetensors"
        for words in (("--evaluate",), ("--out", out, *self.QUICK)):
            code, text = self.run("--data", folders, *words, "--device", kind)
            assert code == 2
            assert f"Error: --device {kind} is not available here; PyTorch finds cpu" in text
        assert not out.with_suffix(".ckpt").exists()

    def test_head_only_keeps_the_trunk(self, folders: Path, tmp_path: Path) -> None:
        first, head = tmp_path / "first.safetensors", tmp_path / "head.safetensors"
        assert self.run("--data", folders, "--out", first, *self.QUICK)[0] == 0
        words = ("--backbone", f"{DEFAULT_BACKBONE}@{first}", "--head-only", "--out", head, *self.QUICK)
        code, text = self.run("--data", folders, *words)
        assert code == 0, text
        one, two = (read_classifier(path)[0].state_dict() for path in (first, head))
        assert all(torch.equal(one[key], two[key]) for key in one if key.startswith("trunk."))
        assert not torch.equal(one["classes.weight"], two["classes.weight"])

    def test_a_student_learns_what_its_teacher_says(self, folders: Path, tmp_path: Path) -> None:
        teacher, student = tmp_path / "teacher.safetensors", tmp_path / "student.safetensors"
        assert self.run("--data", folders, "--out", teacher, *self.QUICK)[0] == 0
        classifier, spec, classes = read_classifier(teacher)
        with torch.no_grad():
            classifier.classes.bias += torch.tensor([0.0, 50.0, 0.0])
        write_weights(teacher, classifier, {"architecture": spec.name, "classes": list(classes)})
        words = ("--data", folders, "--backbone", "ferplusnet", "--teacher", teacher, "--out", student)
        code, text = self.run(*words, "--teacher-share", 1, *self.QUICK, "--epochs", 6)
        assert code == 0, text
        card = json.loads(student.with_suffix(".json").read_text())
        assert card["identity"]["teachers"]["weights_sha256"] == [sha256_of(teacher)]
        assert card["held_out"]["none"]["recall"] == {"Angry": 0.0, "Happy": 1.0, "Sad": 0.0}
        code, text = self.run(*words, "--teacher-share", 0.5, *self.QUICK, "--epochs", 6)
        assert code == 2 and f"{student} already exists" in text
        code, text = self.run(*words, "--head-only")
        assert code == 2 and "--head-only" in text

    def test_other_weights_are_not_overwritten(self, folders: Path, tmp_path: Path) -> None:
        out = tmp_path / "mine.safetensors"
        out.write_bytes(b"precious")
        code, text = self.run("--data", folders, "--out", out, *self.QUICK)
        assert code == 2 and "--overwrite" in text
        assert out.read_bytes() == b"precious"

    def test_a_bad_picture_costs_one(self, folders: Path, tmp_path: Path) -> None:
        (folders / "Sad" / "page.jpg").write_text("<html>not found</html>")
        code, text = self.run("--data", folders, "--out", tmp_path / "mine.safetensors", *self.QUICK)
        (folders / "Sad" / "page.jpg").unlink()
        assert code == 1
        assert "page.jpg" in text and (tmp_path / "mine.safetensors").exists()

    def test_classes_that_the_network_does_not_know(self, folders: Path, tmp_path: Path) -> None:
        out = tmp_path / "two.safetensors"
        code, text = self.run("--data", folders, "--without", "Sad", "--out", out, *self.QUICK)
        assert code == 0, text
        code, text = self.run("--evaluate", "--weights", out, "--data", folders)
        assert code == 2 and "Sad" in text and "--without" in text
        assert self.run("--evaluate", "--weights", out, "--data", folders, "--without", "Sad")[0] == 0

    @pytest.mark.slow
    def test_killed_and_gone_on_with(self, folders: Path, tmp_path: Path) -> None:
        words = [sys.executable, "-m", "avemo.pipelines.cli.main", "pretrain", "face", "--data", str(folders)]
        words = [
            sys.executable,
            "-c",
            "from avemo.pipelines.cli.main import main; main()",
            *words[3:],
            *self.QUICK,
        ]
        words[words.index("--epochs") + 1] = "6"
        whole, parts = tmp_path / "whole.safetensors", tmp_path / "parts.safetensors"
        subprocess.run([*words, "--out", str(whole)], check=True, capture_output=True)
        process = subprocess.Popen(
            [*words, "--out", str(parts)], stderr=subprocess.PIPE, stdout=subprocess.PIPE
        )
        state = parts.with_suffix(".ckpt")
        until = time.monotonic() + 120
        while not state.exists() and time.monotonic() < until:
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert state.exists() and not parts.exists()
        done = subprocess.run([*words, "--out", str(parts)], check=True, capture_output=True, text=True)
        assert "continuing from" in done.stdout
        one, two = (read_classifier(path)[0].state_dict() for path in (whole, parts))
        assert all(torch.equal(one[key], two[key]) for key in one)
