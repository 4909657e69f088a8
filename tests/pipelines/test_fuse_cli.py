"""``avemo-fuse`` from a store to scores: run folders, resumption, cross-validation, errors."""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import click
import numpy as np
import pytest
from click.testing import CliRunner, Result
from safetensors.torch import load_file, save_file

from avemo.cache.clips import Clip
from avemo.cache.keys import FeatureKey
from avemo.cache.store import FeatureStore
from avemo.cache.writer import Outcome
from avemo.fusion.errors import FusionError
from avemo.fusion.evaluation.calibration import Calibration, temperature, tempered
from avemo.fusion.evaluation.ensemble import average
from avemo.fusion.evaluation.scores import Scores
from avemo.fusion.features.recipes import RECIPES
from avemo.fusion.heads.attention import ATTENTIONS
from avemo.fusion.heads.registry import HEADS
from avemo.fusion.training.runs import Run, predict
from avemo.pipelines.cli.framework import command
from avemo.pipelines.cli.fuse import main
from avemo.pipelines.demo.set import DEMO_NOTE, claim

from ..options import keys, without_idle

CLASSES = ("Angry", "Happy", "Sad")
SPLITS = {"train": 12, "val": 6, "test": 3}
QUICK = ("--epochs", 3, "--batch", 8, *keys("hidden=4", "outputs=4", "factors=2"), "--lr", 0.01)


def fill(
    path: Path, splits: dict[str, int] = SPLITS, precision: str = "fp32", clips: Path | None = None
) -> Path:
    """A small store: ``test`` is unlabelled, one clip has no sound, one no face; three subjects."""
    rng = np.random.default_rng(0)
    faces, visual = FeatureKey("faces", {}), FeatureKey("dlib/default", {"precision": precision})
    sound = FeatureKey("logmel", {})
    with FeatureStore(path, create=True) as store, store.writer() as writer:
        for split, count in splits.items():
            for i in range(count):
                kind, frames = i % 3, int(rng.integers(2, 6))
                values = (rng.normal(size=(3, frames, 4)) + kind).astype(np.float32)
                logmel = (rng.normal(size=(70, 3, 40)) + kind).astype(np.float32)
                heard = Outcome(sound, arrays={"logmel": logmel}) if i != 1 else Outcome(sound, "absent", "-")
                streams = {
                    "faces": Outcome(faces, info={"frames": frames, "faces": int(i != 2)}),
                    visual.stream: Outcome(
                        visual, arrays=dict(zip(("basic", "mean", "std"), values, strict=True))
                    ),
                    sound.stream: heard,
                }
                label = None if split == "test" else CLASSES[kind]
                place = str(clips / f"{i}.mp4") if clips else ""
                subject = f"s{i // 6}" if split == "train" else "s2"
                writer.add(Clip(f"{i}", split, place, label, subject=subject), None, streams)
    return path


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fill(tmp_path_factory.mktemp("store") / "features")


def fuse(*arguments: object) -> Result:
    return CliRunner().invoke(main, without_idle(arguments))


def trained(store: Path, out: Path, *more: object) -> Result:
    result = fuse("train", "--store", store, "--out", out, "--members", 2, *QUICK, *more)
    assert result.exit_code == 0, result.output
    return result


def refused(*arguments: object) -> str:
    result = fuse(*arguments)
    assert result.exit_code == 2, result.output
    assert "Traceback" not in result.output
    return " ".join(result.output.split())


def test_train_writes_a_run_that_loads_again(store: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    output = trained(store, run).output
    for text in ("21 (test 3, train 12, val 6)", "f-meanstd:dlib, 8 values", "logmel-stats, 240 values",
                 "3 clips have none", "12 clips; 6 validate", "ensemble, clips with a face",
                 f"avemo-fuse ensemble {run}"):  # fmt: skip
        assert text in output
    assert sorted(path.name for path in run.iterdir()) == sorted(
        ["run.json", "history.csv", "calibration.json"]
        + [f"scores-{split}.csv" for split in SPLITS]
        + [f"member-{n:03d}-{split}.csv" for split in SPLITS for n in (0, 1)]
        + [f"member-{n:03d}.safetensors" for n in (0, 1)]
    )
    card = json.loads((run / "run.json").read_text())
    assert card["train_counts"] == {"Angry": 4, "Happy": 4, "Sad": 4}
    assert card["demo"] is None
    with (run / "history.csv").open() as file:
        history = list(csv.DictReader(file))
    assert [(row["member"], row["seed"], row["epoch"]) for row in history] == [
        (str(n), str(n), str(epoch)) for n in (0, 1) for epoch in (1, 2, 3)
    ]
    members = [Scores.read(run / f"member-00{n}-val.csv") for n in (0, 1)]
    mean = Scores.read(run / "scores-val.csv")
    raw = replace(mean, values=(members[0].values + members[1].values) / 2)
    np.testing.assert_allclose(mean.values, tempered(raw, temperature(raw)).values, atol=1e-12)
    final = float(history[-1]["val_accuracy"])
    truth = np.array(members[1].truth)
    assert final == pytest.approx((truth == np.array(members[1].predicted)).mean())
    assert Scores.read(run / "scores-test.csv").truth == (None,) * 3


def test_predict_equals_what_training_wrote(store: Path, tmp_path: Path) -> None:
    trained(store, tmp_path / "run")
    fused = fuse("predict", tmp_path / "run", store, "--out", tmp_path / "scores.csv", "--device", "cpu")
    assert fused.exit_code == 0, fused.output
    every = Scores.read(tmp_path / "scores.csv")
    for split in SPLITS:
        written = Scores.read(tmp_path / f"run/scores-{split}.csv")
        np.testing.assert_array_equal(every.select(split).values, written.values)
    test = ("predict", tmp_path / "run", "--store", store, "--split", "test", "--out", tmp_path / "test.csv")
    assert fuse(*test).exit_code == 0
    alone = Scores.read(tmp_path / "test.csv")
    assert alone.splits == ("test",)
    np.testing.assert_allclose(alone.values, every.select("test").values, atol=1e-6)


def test_clips_without_sound_alone_are_scored_too(store: Path, tmp_path: Path) -> None:
    trained(store, tmp_path / "run")
    run = Run(tmp_path / "run")
    with FeatureStore(store) as opened:
        mute = [row for row in opened.rows if not row.has("logmel")]
        scores = predict([run], opened, mute)
        together = predict([run], opened, opened.rows)
    places = {clip: i for i, clip in enumerate(together.clips)}
    expected = together.take([places[clip] for clip in scores.clips])
    assert len(mute) == 3
    np.testing.assert_allclose(scores.values, expected.values, atol=1e-6)


def test_predict_averages_the_members_of_all_runs(store: Path, tmp_path: Path) -> None:
    trained(store, tmp_path / "one")
    trained(store, tmp_path / "two", "--fusion", "audio", "--members", 1)
    out = tmp_path / "scores.csv"
    assert fuse("predict", tmp_path / "one", tmp_path / "two", store, "--out", out).exit_code == 0
    one, two = (Scores.read(tmp_path / name / "scores-val.csv").values for name in ("one", "two"))
    found = Scores.read(out).select("val")
    expected = np.where(np.isnan(two), one, (2 * one + two) / 3)  # a run counts as it has members
    np.testing.assert_allclose(found.values, expected, atol=1e-7)
    assert np.isnan(two[1]).all()  # a clip without sound, to a head of sound
    assert found.status == ("ok", "no sound", "no face", "ok", "ok", "ok")


def test_a_member_of_one_stream_says_nothing_of_a_clip_without_it(store: Path, tmp_path: Path) -> None:
    """Also in a run whose other members read the other stream, when it is trained and when it predicts."""
    run, out = tmp_path / "run", tmp_path / "scores.csv"
    quick = ("--epochs", 2, "--device", "cpu", "--store", store, "--fit-on", "train+val")
    result = fuse("train", *quick, "--fusion", "faces + audio", "--out", run)
    assert result.exit_code == 0, result.output
    faces, sound = (Scores.read(run / f"member-00{number}-val.csv") for number in (0, 1))
    assert np.isnan(sound.values[1]).all() and not np.isnan(faces.values[1]).any()
    assert sound.status[1] == "no sound" and faces.status[1] == "ok"
    mean = Scores.read(run / "scores-val.csv")
    np.testing.assert_allclose(mean.values[1], faces.values[1], atol=1e-6)
    assert fuse("predict", run, store, "--out", out).exit_code == 0
    np.testing.assert_array_equal(Scores.read(out).select("val").values, mean.values)


def test_a_second_run_trains_nothing_and_a_missing_member_alone(store: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    trained(store, run)
    before = {path.name: path.read_bytes() for path in run.iterdir()}
    stamps = {n: (run / f"member-00{n}.safetensors").stat().st_mtime_ns for n in (0, 1)}
    assert "members: 2, 2 of them trained already" in trained(store, run).output
    (run / "member-001.safetensors").unlink()
    (run / "scores-val.csv").unlink()
    assert "1 of them trained already" in trained(store, run).output
    assert {path.name: path.read_bytes() for path in run.iterdir()} == before
    assert (run / "member-000.safetensors").stat().st_mtime_ns == stamps[0]
    assert "members: 3, 2 of them trained already" in trained(store, run, "--members", 3).output
    assert (run / "member-002.safetensors").exists()


def test_what_is_not_said_is_chosen_told_and_kept(store: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    bare = ("train", "--store", store, "--out", run, "--device", "cpu", "--workers", 1)
    output = fuse(*bare).output
    assert "training    epochs 180, batch 64, learning rate 0.001, dropout 0.6\n" in output
    settings = json.loads((run / "run.json").read_text())["settings"]
    assert (settings["training"]["epochs"], settings["training"]["learning_rate"]) == (180, 1e-3)
    assert (settings["head"]["dropout"], settings["head"]["visual_attention"]) == (0.6, "conv")
    said = ("--epochs", 180, "--lr", 1e-3, "--dropout", 0.6, "--visual-attention", "conv", "--members", 5)
    assert "members: 5, 5 of them trained already" in fuse(*bare, *said).output


def test_other_settings_need_another_folder_or_overwrite(store: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    trained(store, run)
    again = ("train", "--store", store, "--out", run, "--members", 1, *QUICK, "--attention", "relation")
    text = refused(*again)
    assert "visual_attention: conv / relation" in text and "--overwrite" in text
    assert fuse(*again, "--overwrite").exit_code == 0
    assert not (run / "member-001.safetensors").exists()
    assert Run(run).setup.head.audio_attention == "relation"


def test_a_store_of_other_settings_is_refused(store: Path, tmp_path: Path) -> None:
    trained(store, tmp_path / "run")
    other = fill(tmp_path / "other", precision="bf16")
    text = refused("predict", tmp_path / "run", other, "--out", tmp_path / "s.csv")
    assert "precision: fp32 / bf16: trained / here" in text
    assert not (tmp_path / "s.csv").exists()
    text = refused("train", "--store", other, "--out", tmp_path / "run", *QUICK)
    assert "precision: fp32 / bf16" in text


def test_members_of_another_head_are_named(store: Path, tmp_path: Path) -> None:
    trained(store, tmp_path / "run")
    path = tmp_path / "run/member-000.safetensors"
    tensors = load_file(path)
    tensors["head.surplus"] = tensors.pop("head.classify.bias")
    tensors["standardisation.audio.mean"] = tensors["standardisation.audio.mean"][:-1].clone()
    save_file(tensors, path)
    text = refused("predict", tmp_path / "run", store, "--out", tmp_path / "s.csv")
    for part in ("head.classify.bias is missing", "head.surplus is unknown", "is [239], not [240]"):
        assert part in text
    path.write_bytes(b"nonsense")
    assert "cannot be read" in refused("predict", tmp_path / "run", store, "--out", tmp_path / "s.csv")
    path.unlink()
    text = refused("predict", tmp_path / "run", store, "--out", tmp_path / "s.csv")
    assert "is not finished: member 0 of 2 is missing" in text


def test_leave_one_subject_out(store: Path, tmp_path: Path) -> None:
    call = ("cv", "--folds", "subject", "--members", 2, "--store", store, "--out", tmp_path / "cv", *QUICK)
    result = fuse(*call)
    assert result.exit_code == 0, result.output
    last = result.stdout.splitlines()[-1]
    assert re.fullmatch(r"accuracy \d\.\d{3}  UAR \d\.\d{3}", last)
    assert "3 × 2 members: 6 of 6 trainings to do" in result.output
    scores = Scores.read(tmp_path / "cv/scores.csv")
    assert len(scores.clips) == 18 and None not in scores.truth
    accuracy = np.mean(np.array(scores.truth) == np.array(scores.predicted))
    assert last.startswith(f"accuracy {accuracy:.3f}")
    with (tmp_path / "cv/results.csv").open() as file:
        assert [row["seed"] for row in csv.DictReader(file)] == ["0", "1"]
    (tmp_path / "cv/folds/fold-01-member-001.csv").unlink()
    again = fuse(*call)
    assert "1 of 6 trainings to do" in again.output
    assert again.stdout.splitlines()[-1] == last
    assert "keeps no models" in refused("predict", tmp_path / "cv", store, "--out", tmp_path / "s.csv")


def test_stratified_folds(store: Path, tmp_path: Path) -> None:
    call = (
        "cv",
        "--folds",
        "kfold:3",
        "--store",
        store,
        "--out",
        tmp_path / "cv",
        "--fusion",
        "faces",
        *QUICK,
    )
    assert "trains and tests on the same subject: s0" in refused(*call)
    result = fuse(*call, "--allow-same-subjects")
    assert result.exit_code == 0, result.output
    assert len(Scores.read(tmp_path / "cv/scores.csv").clips) == 18


def test_clips_of_one_split_are_all_fitted(tmp_path: Path) -> None:
    store = fill(tmp_path / "features", {"all": 6})
    output = trained(store, tmp_path / "run").output
    assert "6 clips; none to validate: `avemo-fuse cv` can" in output
    assert (tmp_path / "run/scores-all.csv").exists()
    with (tmp_path / "run/history.csv").open() as file:
        assert {row["val_loss"] for row in csv.DictReader(file)} == {""}


def test_fitting_validation_clips_too_leaves_none_to_validate(store: Path, tmp_path: Path) -> None:
    assert "18 clips; none to validate" in trained(store, tmp_path / "run", "--fit-on", "train+val").output


def test_scores_on_the_demo_set_are_marked(tmp_path: Path) -> None:
    claim(tmp_path / "demo", 1, 0)
    store = fill(tmp_path / "features", clips=tmp_path / "demo/Train_AFEW/Angry")
    assert DEMO_NOTE in trained(store, tmp_path / "run").output
    assert json.loads((tmp_path / "run/run.json").read_text())["demo"] == DEMO_NOTE
    predicted = fuse("predict", tmp_path / "run", store, "--out", tmp_path / "s.csv")
    assert DEMO_NOTE in predicted.output
    cv = fuse("cv", "--folds", "subject", "--store", store, "--out", tmp_path / "cv", *QUICK)
    assert DEMO_NOTE in cv.output


def test_wrong_input_is_one_clear_line_and_exit_code_2(store: Path, tmp_path: Path) -> None:
    train = ("train", "--store", store, "--out", tmp_path / "run", *QUICK)
    assert "no fusion 'sum'; there are fbp" in refused(*train, "--fusion", "sum")
    assert "no attention 'x'; there are self" in refused(*train, "--audio-attention", "x")
    assert "no visual feature 'vgg'" in refused(*train, "--visual", "vgg")
    assert "--tta meanstd2` adds it" in refused(*train, "--visual", "f-meanstd-2")
    assert "no device 'abacus'" in refused(*train, "--device", "abacus")
    assert "not a feature store" in refused("train", "--store", tmp_path / "nothing")
    assert "no run among these" in refused("predict", store)
    assert "kfold:K" in refused("cv", "--folds", "days", "--store", store, "--out", tmp_path / "cv")
    assert "100 folds" in refused("cv", "--folds", "kfold:100", "--store", store, "--out", tmp_path / "cv")
    unlabelled = fill(tmp_path / "unlabelled", {"test": 3})
    assert "none of them is labelled" in refused("train", "--store", unlabelled)
    trained(store, tmp_path / "run")
    text = refused("predict", tmp_path / "run", store, "--split", "x", "--out", tmp_path / "s.csv")
    assert "no clips of split 'x'; it has test, train, val" in text
    card = tmp_path / "run/run.json"
    for content, complaint in {
        "nonsense": "cannot be read",
        "{}": "does not describe a run",
        '{"format": "avemo run", "version": 99}': "version 99",
        '{"format": "avemo run", "version": 1}': "is incomplete",
        '{"format": "avemo run", "version": 1, "kind": "train", "settings": {}}': "is invalid",
    }.items():
        card.write_text(content)
        assert complaint in refused("predict", tmp_path / "run", store, "--out", tmp_path / "s.csv")


def test_exit_codes() -> None:
    outcomes = {"fine": None, "partly": 1, "own": FusionError("mend it"), "file": OSError("full"),
                "stop": KeyboardInterrupt(), "bug": ValueError("bug")}  # fmt: skip

    @command("work")
    @click.argument("outcome")
    def work(outcome: str) -> object:
        result = outcomes[outcome]
        if isinstance(result, BaseException):
            raise result
        return result

    results = {name: CliRunner().invoke(work, [name]) for name in outcomes}
    codes = {name: result.exit_code for name, result in results.items()}
    assert codes == {"fine": 0, "partly": 1, "own": 2, "file": 2, "stop": 130, "bug": 1}
    assert results["own"].output == "Error: mend it\n"
    assert "the same command continues" in results["stop"].output
    assert isinstance(results["bug"].exception, ValueError)


def test_help_is_light_and_names_everything() -> None:
    modules = "train, cv, ensemble, predict, heads"
    heavy = "{'torch', 'numpy', 'h5py', 'sklearn', 'joblib', 'tqdm'}"
    code = (
        f"import sys; from avemo.pipelines.cli.fuse import {modules}; assert not {heavy} & {{*sys.modules}}"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    text = fuse("train", "--help").output
    assert all(name in text for name in (*HEADS, *ATTENTIONS, *RECIPES))
    assert "avemo-fuse train --fusion fbp" in text
    assert "ensemble" in fuse("--help").output


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_ctrl_c_keeps_finished_members(store: Path, tmp_path: Path, workers: int) -> None:
    run = tmp_path / "run"
    code = "from avemo.pipelines.cli.fuse import main; main()"
    call = ["train", "--store", store, "--out", run, *QUICK, "--epochs", 300, "--members"]
    process = subprocess.Popen(
        [sys.executable, "-c", code, *map(str, call), "200", "--workers", str(workers)],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    try:
        wait_until(lambda: bool(list(run.glob("member-*.safetensors"))) or process.poll() is not None)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does, to workers too
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 130
        assert "interrupted; stored results are intact, and the same command continues" in errors
        assert "Traceback" not in errors
        wait_until(lambda: not group_exists(process.pid))
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    kept = sorted(int(path.stem[-3:]) for path in run.glob("member-*.safetensors"))
    assert kept and all(Run(run).load(number).classes == CLASSES for number in kept)
    result = fuse(*call, kept[-1] + 1)
    assert result.exit_code == 0, result.output
    assert f"members: {kept[-1] + 1}, {len(kept)} of them trained already" in result.output


def wait_until(done: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def group_exists(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_run_is_calibrated_on_its_validation_clips(store: Path, tmp_path: Path) -> None:
    """The temperature is that of the members' mean on val; it is kept, told, and used in all scores."""
    result = trained(store, tmp_path / "run", "--fusion", "concat")
    run = Run(tmp_path / "run")
    members = [Scores.read(tmp_path / f"run/member-00{number}-val.csv") for number in range(2)]
    found = temperature(average(members))
    assert run.calibration == Calibration(pytest.approx(found, rel=1e-6), SPLITS["val"], "val")
    assert f"calibrated  temperature {found:.3g}, fitted on 6 labelled clips of val" in result.stdout
    for split in ("val", "test"):
        raw = average([Scores.read(tmp_path / f"run/member-00{number}-{split}.csv") for number in range(2)])
        with FeatureStore(store) as opened:
            rows = [row for row in opened.rows if row.clip.split == split]
            scored = predict([run], opened, rows)
        expected = tempered(raw, found)
        for scores in (Scores.read(tmp_path / f"run/scores-{split}.csv"), scored):
            np.testing.assert_allclose(scores.reorder(expected.classes).values, expected.values, rtol=1e-5)


def test_without_validation_clips_scores_are_as_they_are(store: Path, tmp_path: Path) -> None:
    trained(store, tmp_path / "run", "--fusion", "concat", "--fit-on", "train+val")
    assert Run(tmp_path / "run").calibration is None and not (tmp_path / "run/calibration.json").exists()
    members = [Scores.read(tmp_path / f"run/member-00{number}-test.csv") for number in range(2)]
    mean = Scores.read(tmp_path / "run/scores-test.csv")
    np.testing.assert_allclose(mean.values, average(members).reorder(mean.classes).values, rtol=1e-12)


def test_a_calibration_of_a_stranger_is_only_data(store: Path, tmp_path: Path) -> None:
    trained(store, tmp_path / "run", "--fusion", "concat")
    for text in ("[]", '{"temperature": 1e9, "clips": 1, "split": "val"}', '{"temperature": "x"}', "\x00"):
        (tmp_path / "run/calibration.json").write_text(text)
        assert "calibration.json" in refused("predict", tmp_path / "run", store, "--out", tmp_path / "s.csv")
