"""``avemo-fuse predict`` straight from clips: as extracting them first with the settings of the training."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result

from avemo.cache.keys import FeatureKey
from avemo.extract import DEFAULT_BACKBONE
from avemo.extract.backbones import get
from avemo.extract.errors import ExtractError
from avemo.extract.plan import Plan
from avemo.extract.streams.registry import keys_of
from avemo.fusion.evaluation.scores import Scores
from avemo.fusion.training.runs import Run
from avemo.pipelines.cli.fuse import main
from avemo.pipelines.cli.main import main as avemo
from avemo.pipelines.corpora.clips.find import find_clips
from avemo.pipelines.plan_again import plan_again
from avemo.pipelines.stage_one import into_store

from ..options import keys, without_idle

MakeClip = Callable[..., Path]
QUICK = ("--epochs", 2, *keys("hidden=4", "outputs=4", "factors=2"), "--device", "cpu")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, make_clip: MakeClip) -> Path:
    """Labelled clips, random weights, a store made with them, and runs: of faces and sound, of sound, and of
    segments."""
    home = tmp_path_factory.mktemp("predict")
    for name, brightness in {"Happy": 40, "Sad": 200}.items():
        (home / f"clips/{name}").mkdir(parents=True)
        for n in range(2):
            pictures = [np.full((48, 64, 3), brightness + 5 * n + frame, np.uint8) for frame in range(5)]
            make_clip(home / f"clips/{name}/{name}{n}.mp4", pictures=pictures, tone=200.0 * (n + 1))
    torch.manual_seed(0)
    torch.save(get("mobilefacenet").build().state_dict(), home / "face.pt")
    backbone = f"mobilefacenet@{home / 'face.pt'}"
    plan = Plan(
        backbones=(backbone,),
        view_sets=("none",),
        max_frames=3,
        device="cpu",
        precision="fp32",
        segment_backbones=(backbone,),
        voice_activity="none",
    )
    assert into_store(find_clips(home / "clips"), plan, home / "features", workers=1) == 0
    fuse("train", "--store", home / "features", "--out", home / "run", *QUICK)
    fuse("train", "--store", home / "features", "--out", home / "sound", "--fusion", "audio", *QUICK)
    fuse("train", "--store", home / "features", "--out", home / "segments", "--fusion", "segments", *QUICK)
    return home


def call(*arguments: object) -> Result:
    return CliRunner().invoke(main, without_idle(arguments))


def fuse(*arguments: object) -> str:
    result = call(*arguments)
    assert result.exit_code == 0, result.output
    return result.output


def predict(*arguments: object) -> tuple[object, ...]:
    return ("predict", *arguments, "--device", "cpu", "--workers", 1)


def test_clips_score_as_their_store_does(home: Path, tmp_path: Path) -> None:
    network = f"mobilefacenet@{home / 'face.pt'}"
    weights = ("--backbone", network, "--segment-backbone", network)
    runs = (home / "run", home / "sound", home / "segments")
    fuse("predict", *runs, home / "features", "--out", tmp_path / "stored.csv", "--device", "cpu")
    output = fuse(*predict(*runs, home / "clips", *weights, "--out", tmp_path / "fresh.csv"))
    assert "4 of 4 clips to do" in output and "clips: 4; runs: 3" in output
    stored, fresh = (Scores.read(tmp_path / f"{name}.csv") for name in ("stored", "fresh"))
    assert stored.clips == fresh.clips and fresh.truth == stored.truth
    np.testing.assert_array_equal(stored.values, fresh.values)
    assert [path.name for path in tmp_path.iterdir() if path.suffix != ".csv"] == []


def test_one_unlabelled_file_and_a_store_that_is_kept(home: Path, tmp_path: Path) -> None:
    clip, store = home / "clips/Sad/Sad1.mp4", tmp_path / "kept"
    arguments = predict(home / "sound", clip, "--store", store, "--out", tmp_path / "one.csv")
    assert "1 of 1 clips to do" in fuse(*arguments)
    assert "nothing to do, all 1 clips are there already" in fuse(*arguments, "--overwrite")
    one = Scores.read(tmp_path / "one.csv")
    assert one.truth == (None,) and [clip for _, clip in one.clips] == ["Sad1"]
    fuse("predict", home / "sound", home / "features", "--out", tmp_path / "all.csv", "--device", "cpu")
    every = Scores.read(tmp_path / "all.csv")
    places = [i for i, (_, name) in enumerate(every.clips) if name == "Sad/Sad1"]
    np.testing.assert_allclose(one.values, every.take(places).values, atol=1e-6)


def test_several_files(home: Path, tmp_path: Path) -> None:
    twins = tmp_path / "Happy0.mp4", home / "clips/Happy/Happy0.mp4"
    twins[0].write_bytes((home / "clips/Sad/Sad0.mp4").read_bytes())
    files = [home / "clips/Sad/Sad1.mp4", home / "clips/Happy/Happy1.mp4"]
    fuse(*predict(home / "sound", *files, *files[:1], "--out", tmp_path / "two.csv"))
    assert sorted(name for _, name in Scores.read(tmp_path / "two.csv").clips) == ["Happy1", "Sad1"]
    fuse(*predict(home / "sound", *twins, "--out", tmp_path / "twins.csv"))
    names = [name for _, name in Scores.read(tmp_path / "twins.csv").clips]
    assert len({*names}) == 2 and all(name.endswith("/Happy0") for name in names)
    refused = call(*predict(home / "sound", home / "clips", *files, "--out", tmp_path / "none.csv"))
    assert refused.exit_code == 2
    assert "one store, one folder of clips or files expected" in refused.output


def test_the_file_of_weights_that_is_needed_is_named(home: Path, tmp_path: Path) -> None:
    def refused(*weights: object) -> str:
        result = call(*predict(home / "run", home / "clips", *weights, "--out", tmp_path / "s.csv"))
        assert result.exit_code == 2, result.output
        assert not (tmp_path / "s.csv").exists()
        return " ".join(result.output.split())

    digest = hashlib.sha256((home / "face.pt").read_bytes()).hexdigest()
    text = refused()
    assert f"--backbone mobilefacenet@FILE, a file of SHA-256 {digest}, once called face" in text
    other = tmp_path / "face.pt"
    torch.save(get("mobilefacenet").build().state_dict(), other)
    text = refused("--backbone", f"mobilefacenet@{other}")
    assert f"weights_sha256: {digest} / {hashlib.sha256(other.read_bytes()).hexdigest()}" in text
    renamed = tmp_path / "other.pt"
    assert f"given: mobilefacenet@{renamed}" in refused("--backbone", f"mobilefacenet@{renamed}")


def test_renamed_weights_are_known_by_their_checksum(home: Path, tmp_path: Path) -> None:
    wrong, renamed = tmp_path / "face.pt", tmp_path / "renamed.pth"
    torch.save(get("mobilefacenet").build().state_dict(), wrong)
    renamed.write_bytes((home / "face.pt").read_bytes())
    files = [f"mobilefacenet@{file}" for file in (wrong, renamed)]
    for name in ("run", "segments"):
        keys: Mapping[str, FeatureKey] = Run(home / name).keys
        plan = plan_again(keys, backbones=files, segment_audio=files, device="cpu")
        assert keys.items() <= keys_of(plan).items()


def test_labelled_folders_are_known_by_the_runs_own_classes(
    home: Path, tmp_path: Path, make_clip: MakeClip
) -> None:
    """``happiness/`` is the runs' ``Happy``; what they were trained on is told apart."""
    for name, own in {"happiness": "Happy", "sad": "Sad", "boredom": "Sad"}.items():
        (tmp_path / f"clips/{name}").mkdir(parents=True)
        make_clip(tmp_path / f"clips/{name}/{name}.mp4", tone=300.0)
        if name != "boredom":
            (tmp_path / f"clips/{name}/known.mp4").write_bytes(
                (home / f"clips/{own}/{own}0.mp4").read_bytes()
            )
    arguments = predict(
        home / "sound", tmp_path / "clips", "--dataset", "folders", "--out", tmp_path / "s.csv"
    )
    result = call(*arguments)
    assert result.exit_code == 0, result.output
    assert "classes taken: happiness as Happy, sad as Sad" in result.stdout
    assert "1 clip labelled boredom, which the runs do not know (their classes: Happy, Sad)" in result.stderr
    scores = Scores.read(tmp_path / "s.csv")
    assert sorted(map(str, scores.truth)) == ["Happy", "Happy", "None", "Sad", "Sad"]
    fresh = scores.take([i for i, (_, name) in enumerate(scores.clips) if "known" not in name]).labelled
    right = sum(a == b for a, b in zip(fresh.truth, fresh.predicted, strict=True))
    assert result.stdout.splitlines()[-1] == f"accuracy {right / 2:.3f}  UAR {right / 2:.3f}"
    assert "all (trained on)      2" in result.stdout
    labels = ("--labels", "boredom=Sad,happiness=Happy,sad")
    mapped = json.loads(call(*arguments, *labels, "--json", "--overwrite").stdout)
    assert [line["clips"] for line in mapped["figures"]] == [3, 2]
    assert {*mapped} >= {"accuracy", "uar", "out", "clips", "members"}


def test_what_cannot_be_scored_is_no_prediction(home: Path, tmp_path: Path, make_clip: MakeClip) -> None:
    folder = tmp_path / "clips"
    folder.mkdir()
    (folder / "broken.mp4").write_text("no film")
    (folder / "fine.mp4").write_bytes((home / "clips/Sad/Sad0.mp4").read_bytes())
    black = [np.zeros((48, 64, 3), np.uint8)] * 5
    make_clip(folder / "mute.mp4", pictures=black, sound=False)
    make_clip(folder / "silent.mp4", pictures=black, tone=0.0)
    network = f"mobilefacenet@{home / 'face.pt'}"
    result = call(*predict(home / "run", folder, "--backbone", network, "--out", tmp_path / "s.csv"))
    assert result.exit_code == 1
    assert "3 clips without scores (1 failed, 2 no face, no sound)" in result.stdout
    scores = Scores.read(tmp_path / "s.csv")
    assert {clip: status for (_, clip), status in zip(scores.clips, scores.status, strict=True)} == {
        "broken": "failed",
        "fine": "no face",
        "mute": "no face, no sound",
        "silent": "no face, no sound",
    }
    assert scores.scored.tolist() == [clip == "fine" for _, clip in scores.clips]
    assert ",failed,,\n" in (tmp_path / "s.csv").read_text()
    out = tmp_path / "ensemble"
    output = fuse("ensemble", tmp_path / "s.csv", tmp_path / "s.csv", "--temperature", 2, "--out", out)
    assert "3 clips without scores" in output
    assert (out / "submission.csv").read_text().count(",yes,") == 3


def test_a_broken_clip_is_told_and_costs_only_itself(home: Path, tmp_path: Path) -> None:
    for name in ("Happy0", "Sad0"):
        (tmp_path / f"{name}.mp4").write_bytes((home / f"clips/{name[:-1]}/{name}.mp4").read_bytes())
    (tmp_path / "broken.mp4").write_text("no film")
    result = call(*predict(home / "sound", tmp_path, "--out", tmp_path / "out/s.csv"))
    assert result.exit_code == 1, result.output
    assert "broken.mp4" in result.output
    assert len(Scores.read(tmp_path / "out/s.csv").clips) == 3


def test_a_plan_gives_the_keys_that_it_was_made_of(home: Path) -> None:
    keys: Mapping[str, FeatureKey] = Run(home / "run").keys
    plan = plan_again(keys, backbones=[f"mobilefacenet@{home / 'face.pt'}"], device="cpu")
    assert (plan.max_frames, plan.view_sets, plan.precision) == (3, ("none",), "fp32")
    assert {stream: keys_of(plan)[stream] for stream in keys} == keys
    assert plan_again(Run(home / "sound").keys).backbones == ()
    keys = Run(home / "segments").keys
    weights = [f"mobilefacenet@{home / 'face.pt'}"]
    plan = plan_again(keys, backbones=weights, segment_audio=weights, device="cpu")
    assert (plan.voice_activity, plan.audio_backbones) == ("none", ())
    assert {stream: keys_of(plan)[stream] for stream in keys} == keys


def test_settings_that_cannot_be_had_again_are_told() -> None:
    keys = keys_of(Plan(view_sets=("none",), device="cpu"))
    stream = f"{DEFAULT_BACKBONE}/none"
    changed = FeatureKey(stream, {**keys[stream].settings, "track.min_overlap": 0.9})
    with pytest.raises(ExtractError, match=r"track.min_overlap: 0.9 / 0.3: trained / here"):
        plan_again({stream: changed}, device="cpu")


def test_runs_that_need_different_extractions_are_told_apart(home: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    for path in (home / "run").iterdir():
        text = path.read_bytes()
        (folder / path.name).write_bytes(text.replace(b'"max_frames": 3', b'"max_frames": 9'))
    result = call(*predict(home / "run", folder, home / "clips"))
    assert result.exit_code == 2
    assert "max_frames: 3 / 9" in " ".join(result.output.split())


def test_avemo_predict_by_a_run_is_this_command(home: Path, tmp_path: Path) -> None:
    film, weights = home / "clips/Happy/Happy0.mp4", f"mobilefacenet@{home / 'face.pt'}"
    windows = ("--window", 0.1, "--hop", 0.05)
    told = ("--timeline", tmp_path / "fuse.csv", "--out", tmp_path / "scores.csv")
    fuse(*predict(home / "run", film, "--backbone", weights, *windows, *told))
    asked = (
        "predict",
        film,
        "--run",
        home / "run",
        "--backbone",
        weights,
        *windows,
        "--out",
        tmp_path / "out",
    )
    result = CliRunner().invoke(avemo, [*map(str, asked), "--device", "cpu"])
    assert result.exit_code == 0, result.output
    assert (tmp_path / "out/Happy0.csv").read_text() == (tmp_path / "fuse.csv").read_text()
    assert (tmp_path / "out/scores.csv").read_text() == (tmp_path / "scores.csv").read_text()
    idle = CliRunner().invoke(avemo, [*map(str, asked), "--smooth", "1"])
    assert idle.exit_code == 2 and "--run brings its own settings" in idle.output
