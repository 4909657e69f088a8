"""F-AR-Mean (zhou2019 §3.4): the views' mean of two networks side by side, from a store to scores."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from avemo.cache.clips import Clip
from avemo.cache.keys import FeatureKey
from avemo.cache.store import FeatureStore
from avemo.cache.writer import Outcome
from avemo.fusion.features.recipes import find
from avemo.pipelines.cli.extract import main as extract
from avemo.pipelines.cli.fuse import main as fuse

CLASSES = ("Angry", "Happy", "Neutral", "Sad")
ONE, TWO = "ir50@affectnet/default", "ir50@rafdb/default"


def statistics(bit: int, seed: int, frames: int = 4) -> dict[str, np.ndarray]:
    """Noise, about a mean that tells 0 from 1."""
    rng = np.random.default_rng(seed)
    arrays = {name: rng.normal(size=(frames, 2)).astype(np.float32) for name in ("basic", "mean", "std")}
    arrays["mean"][:, 0] += 6 * bit
    return arrays


def store_of(path: Path, *streams: str) -> Path:
    """96 clips of four classes, of which each network tells only one bit."""
    with FeatureStore(path, create=True).writer() as writer:
        for i in range(96):
            kind = i % 4
            made = {ONE: statistics(kind & 1, i), TWO: statistics(kind >> 1, 1000 + i)}
            outcomes = {
                stream: Outcome(FeatureKey(stream, {"backbone": stream}), arrays=made[stream])
                for stream in streams
            }
            writer.add(Clip(str(i), "train" if i < 64 else "val", label=CLASSES[kind]), None, outcomes)
    return path


def train(store: Path, visual: str, out: Path) -> Result:
    quick = "--fusion faces --attention self --epochs 60 --lr 0.02 --dropout 0 --device cpu --workers 1"
    where = ["--store", str(store), "--visual", visual, "--out", str(out)]
    return CliRunner().invoke(fuse, ["train", *where, *quick.split()])


def accuracy(result: Result) -> float:
    assert result.exit_code == 0, result.output
    return float(next(line for line in result.stdout.splitlines() if line.startswith("ensemble")).split()[2])


def test_two_networks_tell_what_neither_does(tmp_path: Path) -> None:
    store = store_of(tmp_path / "s", ONE, TWO)
    both = train(store, "f-ar-mean:ir50@affectnet+ir50@rafdb", tmp_path / "both")
    assert "f-ar-mean:ir50@affectnet+ir50@rafdb, 4 values" in both.stdout
    assert accuracy(both) > 0.9
    for name in ("affectnet", "rafdb"):  # a half of the classes is all that one bit tells
        assert accuracy(train(store, f"f-mean:ir50@{name}", tmp_path / name)) < 0.75


def test_what_is_missing_is_said_with_the_remedy(tmp_path: Path) -> None:
    one = store_of(tmp_path / "one", ONE)
    result = train(one, "f-ar-mean", tmp_path / "run")
    assert result.exit_code == 2
    assert (
        f"{one} holds no f-ar-mean of 2 backbones, only the inputs from ir50@affectnet; `avemo-extract "
        f"CLIPS --store {one} --tta meanstd --backbone ANOTHER@WEIGHTS`, with other options as before, adds "
        "a second"
    ) in result.stderr
    none = store_of(tmp_path / "none")
    result = train(none, "f-ar-mean", tmp_path / "run")
    assert "--tta meanstd --backbone A --backbone B` adds it" in result.stderr
    both = store_of(tmp_path / "both", ONE, TWO)
    for text in ("f-ar-mean:ir50@rafdb+ir50@rafdb", "f-ar-mean:ir50", "f-ar-mean:ir50@rafdb+vgg"):
        result = train(both, text, tmp_path / "run")
        assert result.exit_code == 2
        assert "name two, as in f-ar-mean:ir50@affectnet+ir50@rafdb" in result.stderr


def test_a_clip_that_only_one_network_has_seen_is_masked(tmp_path: Path) -> None:
    path = store_of(tmp_path / "s", ONE, TWO)
    with FeatureStore(path).writer() as writer:
        alone = Outcome(FeatureKey(ONE, {"backbone": ONE}), arrays=statistics(0, 0))
        writer.add(Clip("96", "train", label="Angry"), None, {ONE: alone})
    result = train(path, "f-ar-mean", tmp_path / "run")
    assert result.exit_code == 0, result.output
    assert "4 values, attention self; 1 clips have none" in result.stdout
    assert f"1 clips are not in {TWO} yet: run avemo-extract again to continue" in result.stdout


@pytest.mark.slow
def test_real_clips_and_two_real_networks(shared: Path, tmp_path: Path) -> None:
    """Each network is added by a run of its own; the second keeps what the first made."""
    clips = shared / "data/java_sed/clips"
    rows = [
        f"{clips}/{actor}-01-{code}_01.mp4,{split},{label}"
        for actor, split in (("01", "train"), ("02", "val"))
        for code, label in (("02", "Sad"), ("03", "Happy"), ("06", "Angry"))
    ]
    (tmp_path / "clips.csv").write_text("\n".join(["path,split,label", *rows]))
    store = tmp_path / "store"
    settings = (
        f"--manifest {tmp_path}/clips.csv --store {store} --tta meanstd --max-frames 8 --workers 1".split()
    )
    for backbone in ("dlib", f"mobilefacenet@{shared}/weights/mobilefacenet.pt"):
        extracted = CliRunner().invoke(extract, [str(clips), *settings, "--backbone", backbone])
        assert extracted.exit_code == 0, extracted.output
    with FeatureStore(store) as opened:
        feature = find(opened, "visual", "f-ar-mean:dlib+mobilefacenet")
        assert feature.name == "f-ar-mean:dlib+mobilefacenet@mobilefacenet"
        for row in opened.rows:
            means = [opened.read(row, stream, ["mean"])["mean"] for stream in feature.streams]
            assert [mean.shape for mean in means] == [(8, 128), (8, 128)]
            np.testing.assert_array_equal(feature.read(opened, row), np.hstack(means))
    result = train(store, "f-ar-mean:mobilefacenet+dlib", tmp_path / "run")
    assert "f-ar-mean:mobilefacenet@mobilefacenet+dlib, 256 values" in result.stdout
    assert result.exit_code == 0, result.output
    assert sorted(path.name for path in (tmp_path / "run").glob("scores-*")) == [
        "scores-train.csv",
        "scores-val.csv",
    ]
