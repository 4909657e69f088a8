"""Pre-training on the MFCC images of segments: what a network sees, who is held out, the command."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from scipy.io import wavfile
from torch import nn

from avemo.cache.clips import Clip
from avemo.cache.keys import FeatureKey
from avemo.cache.store import FeatureStore
from avemo.cache.writer import Outcome
from avemo.extract.backbones import Backbone, get
from avemo.extract.backbones.weights import load_state
from avemo.extract.networks import segment_networks
from avemo.extract.plan import Plan
from avemo.extract.streams.segments import segment_vectors
from avemo.pipelines.cli.main import main
from avemo.pretrain.card import read_classifier
from avemo.pretrain.errors import PretrainError
from avemo.pretrain.recipe import SegmentChanges
from avemo.pretrain.segment_samples import (
    PackedSegments,
    SegmentSamples,
    changed,
    mean_of_clips,
    pack_segments,
)
from avemo.pretrain.speakers import split_by_speaker

CLASSES = ("Angry", "Sad")
CPU = torch.device("cpu")
STILL = SegmentChanges(shift=0, time_mask=0, coefficient_mask=0)
KEY = FeatureKey("segments", {"mfcc.frames": 64})


def pictures(label: str, count: int, seed: int) -> np.ndarray:
    """Noise with a bright band: of low coefficients for one class, of high ones for the other."""
    images = np.random.default_rng(seed).integers(0, 100, (count, 64, 64, 3))
    images[:, slice(8, 24) if label == "Angry" else slice(40, 56)] += 120
    return images.astype(np.uint8)


def fill(path: Path, clips: int = 24) -> Path:
    """A store of clips of 1 to 3 segments of four subjects; one more without a label."""
    with FeatureStore(path, create=True) as store, store.writer() as writer:
        for number in range(clips):
            label = CLASSES[number % 2]
            clip = Clip(f"{number:02}", "all", label=label, subject=f"s{number // 2 % 4}")
            images = pictures(label, 1 + number % 3, number)
            starts = 0.3 * np.arange(len(images))
            arrays = {"image": images, "times": np.stack([starts, starts + 0.655], axis=1)}
            writer.add(clip, None, {"segments": Outcome(KEY, arrays=arrays)})
        writer.add(Clip("free", "all"), None, {"segments": Outcome(KEY, arrays=arrays)})
    return path


def packed(store: FeatureStore, named: bool = True) -> PackedSegments:
    rows = [row for row in store.rows if row.clip.label]
    return pack_segments(store, rows, CLASSES, lambda: None, named)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fill(tmp_path_factory.mktemp("store") / "features")


@pytest.fixture(scope="module")
def all_segments(path: Path) -> PackedSegments:
    with FeatureStore(path) as store:
        return packed(store)


class Seen(nn.Module):
    """Keeps what a network is given."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.features, self.inputs = features, list[torch.Tensor]()

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        self.inputs.append(inputs.clone())
        return torch.zeros(len(inputs), self.features)


class TestSamples:
    @pytest.mark.parametrize(
        "spec",
        [
            get("ferresnet"),  # grey, smaller than an image
            get("vgg19"),  # RGB, larger
            replace(get("vgg19"), input_size=64, colour="bgr"),
        ],
        ids=["grey", "rgb", "bgr"],
    )
    def test_plain_input_is_what_stage_one_feeds(self, spec: Any, all_segments: PackedSegments) -> None:
        rows = np.array([3, 0, 7, 40, 41])
        seen = Seen(spec.features)
        network = Backbone(spec, seen, "seen", "none", precision="fp32")
        for _ in segment_vectors(network, all_segments.images[rows], 2):
            pass
        samples = SegmentSamples(all_segments, spec, STILL)
        plain = samples.plain(rows, samples.full_size, CPU)
        assert plain.shape == (5, 1 if spec.colour == "grey" else 3, spec.input_size, spec.input_size)
        assert torch.equal(plain, torch.cat(seen.inputs))
        assert torch.equal(plain, samples.changed(rows, 0, torch.Generator(), CPU))

    def test_each_has_its_clips_class(self, all_segments: PackedSegments) -> None:
        samples = SegmentSamples(all_segments, get("ferresnet"), STILL)
        assert samples.labels.shape == (48, 2) and all_segments.labels.shape == (24, 2)
        for row, image in enumerate(all_segments.images):
            high = image[40:56].mean() > image[8:24].mean()
            assert CLASSES[samples.labels[row].argmax()] == ("Sad" if high else "Angry")

    def test_a_shift_moves_columns_and_no_rows(self, all_segments: PackedSegments) -> None:
        images, generator = all_segments.images[:40], torch.Generator().manual_seed(1)
        moved = changed(images, replace(STILL, shift=3), generator)
        found = set()
        for before, after in zip(images, moved, strict=True):
            padded = np.pad(before, ((0, 0), (3, 3), (0, 0)), mode="edge")
            found |= {n - 3 for n in range(7) if np.array_equal(after, padded[:, n : n + 64])}
        assert found == {-3, -2, -1, 0, 1, 2, 3}

    def test_masks_hide_stretches_and_bands_and_no_more(self, all_segments: PackedSegments) -> None:
        images, generator = all_segments.images, torch.Generator().manual_seed(1)
        means = images.mean((1, 2), keepdims=True).round()
        for changes, axis, most in (
            (replace(STILL, time_mask=0.1), 1, 10),
            (replace(STILL, coefficient_mask=0.1), 2, 7),
        ):
            masked = changed(images, changes, generator)
            touched = (masked != images).any(-1)
            lines = touched.any(axis)  # columns, or rows
            assert 0 < lines.sum(1).max() <= 2 * most and lines.sum(1).mean() > 2
            assert (masked == means)[touched].all()
            hidden = (masked == means).all(-1)
            assert (hidden.all(axis) >= lines).all()  # whole columns, or whole rows

    def test_same_seed_same_changes(self, all_segments: PackedSegments) -> None:
        one, same, other = (
            changed(all_segments.images, SegmentChanges(), torch.Generator().manual_seed(seed))
            for seed in (1, 1, 2)
        )
        assert np.array_equal(one, same) and not np.array_equal(one, other)

    def test_mean_of_clips(self) -> None:
        said = np.array([[0.1, 0.9], [0.8, 0.2], [0.6, 0.4], [0.3, 0.7]])
        clips, means = mean_of_clips(said, np.array([7, 2, 2, 7]))
        assert clips.tolist() == [2, 7]
        np.testing.assert_allclose(means, [[0.7, 0.3], [0.2, 0.8]])


class TestDivision:
    def test_nobody_speaks_on_both_sides(self, all_segments: PackedSegments) -> None:
        for seed in range(4):
            train_rows, held_out_rows = map(
                all_segments.segments_of, split_by_speaker(all_segments, 0.25, seed)
            )
            speakers = [
                {*all_segments.subjects[all_segments.clips[rows]]} for rows in (train_rows, held_out_rows)
            ]
            assert len(speakers[0]) == 3 and len(speakers[1]) == 1 and not speakers[0] & speakers[1]
            assert len(train_rows) + len(held_out_rows) == 48

    def test_same_segments_stay_together_whoever_is_said_to_speak(self, tmp_path: Path) -> None:
        images = pictures("Sad", 2, 0)
        with FeatureStore(tmp_path / "features", create=True) as store:
            with store.writer() as writer:
                for number, own in enumerate((images, pictures("Sad", 2, 1), images)):
                    clip = Clip(f"{number}", "train", label="Sad", subject=f"{number}")
                    writer.add(clip, None, {"segments": Outcome(KEY, arrays={"image": own})})
            store.refresh()
            groups = packed(store).groups
            unnamed = packed(store, named=False)
        assert groups[0] == groups[2] != groups[1]
        assert unnamed.subjects.tolist() == ["", "", ""] and unnamed.groups[0] == unnamed.groups[2]

    def test_a_store_without_segments_says_how_to_get_them(self, tmp_path: Path) -> None:
        with FeatureStore(tmp_path / "features", create=True) as store:
            with store.writer() as writer:
                other = Outcome(FeatureKey("logmel", {}), arrays={"values": np.zeros((2, 3))})
                writer.add(Clip("0", "all", label="Sad"), None, {"logmel": other})
            store.refresh()
            with pytest.raises(PretrainError, match=r"none of 1 labelled clips has segments.*--segments"):
                packed(store)


QUICK = ("--batch", 12, "--dropout", 0, "--epochs", 3, "--device", "cpu", "--precision", "fp32")


def run(*words: object, command: tuple[str, ...] = ("pretrain", "segments")) -> tuple[int, str]:
    result = CliRunner().invoke(main, [*command, *map(str, words)], prog_name="avemo")
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.output


@pytest.fixture(scope="module")
def trained(path: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    out = tmp_path_factory.mktemp("weights") / "mine.safetensors"
    code, text = run("--store", path, "--held-out-subjects", "s1,s3", "--out", out, *QUICK)
    assert code == 0, text
    return out, text


class TestCommand:
    def test_train_and_evaluate(self, path: Path, trained: tuple[Path, str]) -> None:
        out, text = trained
        words = ("--store", path, "--held-out-subjects", "s1,s3", "--out", out)
        assert "48 segments in 24 clips of s0, s1, s2, s3: Angry, Sad" in text
        assert "to fit 24 segments in 12 clips of s0, s2; held out 24 segments in 12 clips of s1, s3" in text
        card = json.loads(out.with_suffix(".json").read_text())
        assert card["architecture"] == "ferresnet" and card["classes"] == ["Angry", "Sad"]
        assert card["data"]["fitted_subjects"] == ["s0", "s2"]
        assert card["data"]["held_out_subjects"] == ["s1", "s3"]
        assert card["counts"]["held_out"] == {"Angry": 12, "Sad": 12}
        assert card["preprocessing"]["segments"] == {"mfcc.frames": 64}
        assert card["identity"]["recipe"]["augmentation"] == {
            "shift": 4,
            "time_mask": 0.1,
            "coefficient_mask": 0.1,
        }
        clips, of_segments = (card["held_out"][unit] for unit in ("clips", "segments"))
        assert np.sum(clips["confusion"]) == 12 and np.sum(of_segments["confusion"]) == 24
        assert of_segments["accuracy"] >= 0.75 and clips["accuracy"] >= 0.75
        code, again = run(*words, *QUICK)
        assert code == 0 and "trained already" in again
        code, text = run("--evaluate", "--weights", out, *words)
        assert code == 0 and "mine.safetensors on s1, s3: 24 segments in 12 clips of s1, s3" in text
        assert "segments, s1, s3: true" in text and "clips, s1, s3: true" in text and "note:" not in text
        assert text.strip().splitlines()[-1] == f"accuracy {clips['accuracy']:.3f}  UAR {clips['uar']:.3f}"
        code, text = run("--evaluate", "--weights", out, "--store", path)
        assert code == 0 and "note: it was trained on subjects called s0, s2" in text

    def test_it_goes_on_where_it_was_stopped(
        self, path: Path, trained: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        out = tmp_path / "stopped.safetensors"
        words = ("--store", path, "--held-out-subjects", "s1,s3", "--out", out, *QUICK)
        of_samples = SegmentSamples.changed

        def stop(self: SegmentSamples, rows: np.ndarray, epoch: int, *others: Any) -> torch.Tensor:
            if epoch == 1:
                raise KeyboardInterrupt
            return of_samples(self, rows, epoch, *others)

        with monkeypatch.context() as patch:
            patch.setattr(SegmentSamples, "changed", stop)
            code, text = run(*words)
        assert code == 130 and not out.exists()
        code, text = run(*words)
        assert code == 0 and "continuing from" in text and "after 1 epochs" in text
        stopped, whole = load_state(out), load_state(trained[0])
        assert stopped.keys() == whole.keys() and len(whole) > 20
        assert all(torch.equal(stopped[name], whole[name]) for name in whole)

    def test_stage_one_takes_the_weights(
        self, trained: tuple[Path, str], all_segments: PackedSegments, tmp_path: Path
    ) -> None:
        out, _ = trained
        text = f"ferresnet@{out}"
        plan = Plan(backbones=(), segment_backbones=(text,), precision="fp32", device="cpu")
        (network,) = segment_networks(plan)
        vectors = np.concatenate(list(segment_vectors(network, all_segments.images, 7)))
        classifier, spec, _ = read_classifier(out)
        samples = SegmentSamples(all_segments, spec, STILL)
        with torch.inference_mode():
            expected = classifier.trunk(samples.plain(np.arange(48), 48, CPU)).numpy()
        np.testing.assert_allclose(vectors, expected, atol=1e-4 * np.abs(expected).max())
        clips = tmp_path / "clips" / "Sad"
        clips.mkdir(parents=True)
        noise = np.random.default_rng(0).standard_normal(24_000).astype(np.float32) / 10
        wavfile.write(clips / "a.wav", 16_000, noise)
        store = tmp_path / "heard"
        words = (clips.parent, "--store", store, "--segment-backbone", text, "--vad", "none", "--workers", 1)
        code, told = run(*words, command=("extract",))
        assert code == 0, told
        with FeatureStore(store) as opened:
            assert opened.read(opened.rows[0], "segments/ferresnet@mine")["vectors"].shape == (3, 512)

    def test_a_clip_without_segments_costs_one(self, tmp_path: Path) -> None:
        path, out = fill(tmp_path / "features", 12), tmp_path / "mine.safetensors"
        with FeatureStore(path) as store, store.writer() as writer:
            mute = Clip("mute", "all", label="Sad", subject="s0")
            writer.add(mute, None, {"segments": Outcome(KEY, "absent", "has no sound")})
        code, text = run("--store", path, "--out", out, *QUICK, "--epochs", 1)
        assert code == 1 and out.exists()
        assert "left out: all/mute: has no sound" in text

    def test_wrong_words_are_told(self, path: Path, trained: tuple[Path, str], tmp_path: Path) -> None:
        words = ("--store", path, "--out", tmp_path / "mine.safetensors", *QUICK)
        for wrong, told in (
            (("--held-out-subjects", "s9"), "no recording is of subject 's9'"),
            (("--backbone", "vgg"), "vgg"),
            (("--backbone", "ferresnet@nowhere.pt"), "nowhere.pt"),
            (("--without", "Sad"), "expected two classes or more"),
            (("--without", "Fear"), "classes: Angry, Sad"),
            (("--store", tmp_path / "none"), "is not a feature store"),
            (("--evaluate",), "there are no weights"),
        ):
            code, text = run(*words, *wrong)
            assert code == 2 and told in text, text
        assert not list(tmp_path.iterdir())
        code, text = run("--store", path, "--out", trained[0], *QUICK, "--seed", 1)
        assert code == 2 and "already exists" in text

    def test_classes_that_the_network_does_not_know(self, trained: tuple[Path, str], tmp_path: Path) -> None:
        path = fill(tmp_path / "features", 6)
        with FeatureStore(path) as store, store.writer() as writer:
            images = {"image": pictures("Sad", 2, 99)}
            bored = Clip("bored", "all", label="Bored", subject="s0")
            writer.add(bored, None, {"segments": Outcome(KEY, arrays=images)})
        words = ("--evaluate", "--weights", trained[0], "--store", path)
        code, text = run(*words)
        assert code == 2 and "clips of Bored" in text and "--without Bored" in text
        code, text = run(*words, "--without", "Bored")
        assert code == 0 and "in 6 clips" in text
