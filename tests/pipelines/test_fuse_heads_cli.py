"""``avemo-fuse train`` with each head and encoder: its options, its card, and the same scores again."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from safetensors.torch import load_file

from avemo.cache.clips import Clip
from avemo.cache.keys import FeatureKey
from avemo.cache.store import FeatureStore
from avemo.cache.writer import Outcome
from avemo.fusion.evaluation.scores import Scores
from avemo.fusion.heads.encoders import ENCODERS
from avemo.fusion.heads.registry import HEADS, build_head, settings_for
from avemo.pipelines.cli.fuse import main

from ..options import keys, without_idle

SOUND = {"window": 640, "hop": 160, "sample_rate": 16_000}
QUICK = ("--epochs", 2, "--batch", 4, *keys("hidden=4", "outputs=4"), "--lr", 1e-3, "--device", "cpu")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six labelled clips of two classes, with frames of 4 values and their times, a spectrogram and MFCC
    images; one has no sound, one a short one."""
    path = tmp_path_factory.mktemp("store") / "features"
    rng = np.random.default_rng(0)
    keys = [FeatureKey("faces", {}), FeatureKey("dlib/none", {})]
    keys += [FeatureKey(name, SOUND) for name in ("spectrogram", "logmel")] + [FeatureKey("segments", {})]
    with FeatureStore(path, create=True) as store, store.writer() as writer:
        for i in range(6):
            frames, length = 3 + i, 40 if i == 2 else 70
            arrays = [
                {"times": np.arange(frames) / 25},
                {"basic": rng.normal(i % 2, 1, (frames, 4)).astype(np.float32)},
                {"spectrogram": rng.normal(-60, 9, (length, 200)).astype(np.float32)},
                {"logmel": rng.normal(-9, 3, (length, 3, 40)).astype(np.float32)},
                {
                    "image": rng.integers(0, 200 + 50 * (i % 2), (2, 64, 64, 3)).astype(np.uint8),
                    "times": np.array([[0, 0.655], [0.3, 0.955]]),
                },
            ]
            made = [Outcome(key, arrays=part) for key, part in zip(keys, arrays, strict=True)]
            if i == 1:
                made[2:] = [Outcome(key, "absent", "no sound") for key in keys[2:]]
            streams = {key.stream: outcome for key, outcome in zip(keys, made, strict=True)}
            writer.add(
                Clip(f"{i}", "all", label=("Angry", "Happy")[i % 2], subject=f"s{i // 2}"), None, streams
            )
    return path


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of AlexNet's convolutions over three channels, as torchvision has them, all alike."""
    from avemo.fusion.heads.encoders import ConvolutionalEncoder

    path = tmp_path_factory.mktemp("weights") / "alexnet.pth"
    torch.save({name: v * 0 + 0.01 for name, v in ConvolutionalEncoder(600, 3).state_dict().items()}, path)
    return path


def fuse(*arguments: object) -> Result:
    return CliRunner().invoke(main, without_idle(arguments))


def train(store: Path, out: Path, *more: object) -> str:
    result = fuse("train", "--store", store, "--out", out, *QUICK, *more)
    assert result.exit_code == 0, result.output
    return result.output


def refused(store: Path, out: Path, *more: object) -> str:
    result = fuse("train", "--store", store, "--out", out, *QUICK, *more)
    assert result.exit_code == 2 and "Traceback" not in result.output, result.output
    return " ".join(result.output.split())


def card(run: Path) -> dict[str, object]:
    return json.loads((run / "run.json").read_text())["settings"]["head"]


@pytest.mark.parametrize("fusion", tuple(HEADS))
def test_a_saved_run_scores_as_it_did(store: Path, tmp_path: Path, fusion: str) -> None:
    run = tmp_path / "run"
    train(store, run, "--fusion", fusion, "--members", 2)
    predicted = fuse("predict", run, store, "--out", tmp_path / "again.csv", "--device", "cpu")
    assert predicted.exit_code == 0, predicted.output
    ours, again = Scores.read(run / "scores-all.csv"), Scores.read(tmp_path / "again.csv")
    np.testing.assert_array_equal(ours.values, again.values)
    assert "2 of them trained already" in train(store, run, "--fusion", fusion, "--members", 2)


@pytest.mark.parametrize("encoder", tuple(ENCODERS))
def test_encoders_are_trained_and_saved(store: Path, tmp_path: Path, encoder: str, weights: Path) -> None:
    run = tmp_path / "run"
    options = ("--fusion", "am-fbp", "--audio-encoder", f"{encoder}@{weights}", "--set", "trunk_outputs=4")
    output = train(store, run, *options)
    lrn = "" if encoder == "1d-abfcn" else " without LRN"
    assert f"spectrogram, 200 values, {encoder}{lrn} from weights " in output
    described = card(run)["audio_encoder"]
    assert described["name"] == encoder and described["lrn"] == (not lrn) and len(described["weights"]) == 64
    first = load_file(run / "member-000.safetensors")["head.encoders.audio.features.0.weight"]
    assert first.shape == (64, 1, 11, 11)
    torch.testing.assert_close(first, torch.full_like(first, 0.03), rtol=0, atol=0.01)  # the sum of three
    assert not torch.equal(first, torch.full_like(first, 0.03))
    assert fuse("predict", run, store, "--out", tmp_path / "again.csv", "--device", "cpu").exit_code == 0
    ours, again = Scores.read(run / "scores-all.csv"), Scores.read(tmp_path / "again.csv")
    np.testing.assert_array_equal(ours.values, again.values)
    assert "5 of them trained already" in train(store, run, *options)
    text = refused(store, run, "--fusion", "am-fbp", "--audio-encoder", encoder, "--set", "trunk_outputs=4")
    assert "head.audio_encoder.weights" in text


def test_options_reach_the_head(store: Path, tmp_path: Path) -> None:
    trunks = keys("trunks=3", "trunk_seconds=0.4", "trunk_outputs=5", "trunk_factors=3")
    flags = keys("lambda_audio=0.5", "ag_norm=true", "signed_sqrt=true", "bias=false")
    output = train(store, tmp_path / "run", "--fusion", "am-fbp", *trunks, *flags)
    assert "attention transformer with λ 0.5" in output and "attention conv" in output
    head = card(tmp_path / "run")
    assert head["trunks"] == {"count": 3, "outputs": 5, "factors": 3, "seconds": 0.4}
    assert (head["ag_norm"], head["signed_sqrt"], head["bias"], head["version"]) == (True, True, False, 1)
    assert (head["lambda_audio"], head["lambda_visual"], head["visual_attention"]) == (0.5, 1.0, "conv")
    train(store, tmp_path / "other", "--fusion", "decision", "--set", "decision_weight=0.25")
    assert card(tmp_path / "other")["decision_weight"] == 0.25
    assert not {"trunks", "ag_norm", "audio_encoder"} & card(tmp_path / "other").keys()
    tensors = load_file(tmp_path / "run/member-000.safetensors")
    dimensions = {"visual": 4, "audio": 240}
    plain = build_head(settings_for("am-fbp"), dimensions, 2)
    assert tensors["head.trunk_pool.audio.weight"].shape == (3, 15, 240)
    assert "head.trunk_pool.audio.bias" not in tensors and plain.trunk_pool.audio.bias is not None


def test_what_does_not_go_together_is_told(store: Path, tmp_path: Path, weights: Path) -> None:
    run = tmp_path / "run"
    for options, complaint in {
        ("--set", "trunks=3"): "the fusion fbp has no trunks; m-fbp and am-fbp have",
        ("--fusion", "m-fbp", "--set", "ag_norm=true"): "m-fbp has no ag norm",
        ("--set", "decision_weight=0.2"): "fbp has no decision weight",
        ("--attention", "self", "--set", "lambda_audio=0.3"): "self attention has no λ",
        ("--set", "lrn=false"): "name one with --audio-encoder",
        ("--fusion", "concat", "--grid", "factors=2|4"): "factors in the grid has no effect: the fusion",
        ("--halve-after", 2): "cannot be halved after epoch 2 of 2",
        ("--audio-encoder", "3d"): "no encoder '3d'; there are 1d-abfcn, 2d-abfcn",
        ("--audio-encoder", "1d-abfcn", "--audio", "logmel-stats"): "use --audio logmel or spectrogram",
        ("--audio-encoder", "2d-abfcn", "--audio", "logmel"): "cannot be read as 3 channels of 63 bins",
        ("--audio-encoder", "1d-abfcn", "--fusion", "faces"): "the fusion faces reads no sound",
        ("--audio-encoder", f"1d-abfcn@{tmp_path / 'none.pth'}"): "none.pth",
        ("--audio-encoder", f"1d-abfcn@{weights}", "--audio", "logmel", "--fusion", "concat"): "",
    }.items():
        if complaint:
            assert complaint in refused(store, run, *options), options
        else:
            assert "1d-abfcn from weights" in train(store, run, *options)


def test_a_run_of_before_goes_on_and_one_of_another_meaning_does_not(store: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    train(store, run)
    path = run / "run.json"
    content = json.loads(path.read_text())
    for name in ("lambda_visual", "lambda_audio", "signed_sqrt", "version"):
        del content["settings"]["head"][name]
    path.write_text(json.dumps(content))
    predict = ("predict", run, store, "--out", tmp_path / "s.csv", "--device", "cpu")
    assert fuse(*predict).exit_code == 0
    assert "5 of them trained already" in train(store, run)
    content["settings"]["head"]["version"] = 99
    path.write_text(json.dumps(content))
    result = fuse(*predict, "--overwrite")
    assert result.exit_code == 2
    assert "was trained with version 99 of the head fbp, and this avemo has version 1" in result.output
    assert "head.version: 99 / 1" in refused(store, run)


def test_help_names_all_heads_and_encoders() -> None:
    assert {*HEADS, *ENCODERS} <= {*re.findall(r"[\w-]+", fuse("train", "--help").output)}


def test_a_grid_is_trained_resumed_and_grown(store: Path, tmp_path: Path) -> None:
    run, grid = tmp_path / "run", ("--grid", "lambda_audio=0:1:0.5, lr=1e-3|1e-2", "--stacked")
    output = train(store, run, *grid, "--members", 2)
    assert "6 points: lambda_audio 3, learning_rate 2" in output and "members: 12" in output
    (run / "member-004.safetensors").unlink()
    before = (run / "member-005.safetensors").read_bytes()
    assert "11 of them trained already" in train(store, run, *grid, "--members", 2)
    assert (run / "member-005.safetensors").read_bytes() == before
    output = train(store, run, *grid[:1], grid[1] + ", seed=0:2")
    assert "members: 18, 12 of them trained already" in output
    lines = (run / "history.csv").read_text().splitlines()
    assert lines[0].startswith("member,seed,lambda_audio,learning_rate,epoch")
    firsts = [line.split(",")[:4] for line in lines[1::2]]
    assert firsts[4] == ["4", "0", "1.0", "0.001"] and firsts[7] == ["7", "1", "0.0", "0.01"]
    assert len(list(run.glob("member-*-all.csv"))) == 18
    assert "grid.lambda_audio" in refused(store, run, "--grid", "lambda_audio=0:1:0.25, lr=1e-3|1e-2")


def test_one_point_of_a_grid_is_chosen(store: Path, tmp_path: Path) -> None:
    run, options = tmp_path / "run", ("--grid", "lr=1e-12|1e-11|1e-10|1e-9|1e-8|0.03", "--epochs", 12)
    output = train(store, run, *options, "--choose-grid", "halving", "--members", 2)
    assert "chosen" in output and "members: 2" in output
    assert json.loads((run / "choice.json").read_text())["candidate"] in range(6)
    assert "2 of them trained already" in train(
        store, run, *options, "--choose-grid", "halving", "--members", 2
    )
    assert len(list(run.glob("member-*.safetensors"))) == 2
    result = fuse("predict", run, store, "--out", tmp_path / "scores.csv")
    assert result.exit_code == 0, result.output


def test_a_grid_in_cross_validation_is_chosen_inside_each_fold(store: Path, tmp_path: Path) -> None:
    out = tmp_path / "cv"
    grid = ("--grid", "lr=1e-3|1e-2, lambda_visual=0|1", "--choose-grid", "halving", "--members", 2)
    result = fuse("cv", "--store", store, "--out", out, *QUICK, *grid)
    assert result.exit_code == 0, result.output
    assert "candidate by accuracy on 2 inner folds" in result.output
    choices = [json.loads(path.read_text()) for path in sorted(out.glob("folds/*.json"))]
    assert len(choices) == 3 and all(choice["candidate"] in range(4) for choice in choices)
    assert "lambda_visual" in (out / "results.md").read_text()


def test_an_option_that_cannot_act_is_refused_and_told_why(store: Path, tmp_path: Path) -> None:
    def why(*arguments: object) -> str:
        call = [str(word) for word in (*arguments, "--store", store, "--out", tmp_path / "out")]
        result = CliRunner().invoke(main, call)
        assert result.exit_code == 2 and not (tmp_path / "out").exists(), result.output
        return " ".join(result.output.split())

    audio = ("train", "--fusion", "audio")
    assert "--visual would do nothing: the fusion audio reads no pictures" in why(
        *audio, "--visual", "nonsense"
    )
    factors = why(*audio, "--set", "factors=9")
    assert "--set factors would do nothing: the fusion audio has no factors" in factors
    assert "--set trunks would do nothing: the fusion g-fbp has no trunks" in why(
        "train", "--fusion", "g-fbp", "--set", "trunks=3"
    )
    assert "--choose-grid would do nothing: --grid gives fewer than two points" in why(
        "train", "--choose-grid", "best"
    )
    assert "--lr would do nothing: --grid gives its" in why("train", "--lr", 1, "--grid", "lr=1e-3|1e-2")
    assert "--members would do nothing: --grid gives the seeds" in why(
        "train", "--members", 3, "--grid", "seed=0:4"
    )
    assert "--choose-grid would do nothing" in why("cv", "--choose-grid", "halving")
    assert "--choose-by would do nothing: nothing is chosen" in why("cv", "--choose-by", "uar")
    assert "--session-pattern would do nothing" in why("cv", "--session-pattern", "x")
    assert "--set lrn would do nothing" in why("cv", "--set", "lrn=true")
    assert "--set vote would do nothing" in why("train", "--fusion", "2g-fbp", "--set", "vote=mean")
    assert "--members would do nothing: --fusion names" in why("train", "--fusion", "2g-fbp", "--members", 3)


def test_an_option_of_some_heads_acts_in_those(store: Path, tmp_path: Path) -> None:
    several = ("--fusion", "am-fbp + g-fbp", "--set", "trunks=3")
    train(store, tmp_path / "mix", *several)
    parts = json.loads((tmp_path / "mix/run.json").read_text())["settings"]["mix"]
    assert [part["head"]["fusion"] for part in parts] == ["am-fbp", "g-fbp"]
    assert parts[0]["head"]["trunks"]["count"] == 3 and "trunks" not in parts[1]["head"]
    assert "no fusion 'nonsense'" in refused(store, tmp_path / "other", "--fusion", "g-fbp + nonsense")
    assert not (tmp_path / "other").exists()


def test_members_of_several_heads_are_one_run(store: Path, tmp_path: Path) -> None:
    """Each member is as it would be in a run of its head alone, and the run is used like any other."""
    run, mixed = tmp_path / "mix", ("--fusion", "2am-fbp + g-fbp")
    output = train(store, run, *mixed)
    assert "members     2 am-fbp + 1 g-fbp" in output and "members: 3" in output
    train(store, tmp_path / "am", "--fusion", "am-fbp", "--members", 2)
    train(store, tmp_path / "g", "--fusion", "g-fbp")
    alone = [tmp_path / "am/member-000", tmp_path / "am/member-001", tmp_path / "g/member-000"]
    for number, path in enumerate(alone):
        ours, theirs = (load_file(f"{stem}.safetensors") for stem in (run / f"member-{number:03d}", path))
        assert ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)
    mean = np.mean([Scores.read(path).values for path in run.glob("member-*-all.csv")], axis=0)
    np.testing.assert_allclose(Scores.read(run / "scores-all.csv").values, mean, atol=1e-6)
    predicted = fuse("predict", run, store, "--out", tmp_path / "again.csv", "--device", "cpu")
    assert predicted.exit_code == 0, predicted.output
    np.testing.assert_array_equal(
        Scores.read(run / "scores-all.csv").values, Scores.read(tmp_path / "again.csv").values
    )
    (run / "member-002.safetensors").unlink()
    assert "2 of them trained already" in train(store, run, *mixed)
    assert "mix: " in refused(store, run, "--fusion", "am-fbp + g-fbp")
    for command in ("ensemble", "report"):
        result = fuse(command, run, "--out", tmp_path / command)
        assert result.exit_code == 0, result.output


def test_what_is_no_list_of_heads_is_refused(store: Path, tmp_path: Path) -> None:
    for text, why in {
        "2 3am": "'2 3am' in '2 3am': expected a number and a head, as in '2am-fbp + 4g-fbp'",
        "g-fbp +": "'' in 'g-fbp +'",
        "0g-fbp": "'0g-fbp'",
        "g-fbp + segments": "heads of one run must read the same",
    }.items():
        assert why in refused(store, tmp_path / "run", "--fusion", text), text
    grid = ("--fusion", "2g-fbp", "--grid", "lr=1e-3|1e-2")
    assert "--grid would do nothing: --fusion names" in refused(store, tmp_path / "run", *grid)
