"""``--preset``: the networks as the papers print them, and what goes before them."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from avemo.cache.clips import Clip
from avemo.cache.keys import FeatureKey
from avemo.cache.store import FeatureStore
from avemo.cache.writer import Outcome
from avemo.pipelines.cli.framework import InputError
from avemo.pipelines.cli.fuse import main
from avemo.pipelines.cli.recipe import known
from avemo.pipelines.fuse.settings import TrainSettings
from avemo.pipelines.recipes.presets import with_preset
from avemo.pipelines.recipes.recipe import load
from avemo.pipelines.recipes.run import plan

SOUND = {"window": 640, "hop": 160, "sample_rate": 16_000}
DEFAULTS = TrainSettings()
SHORT = ("--epochs", "1", "--batch", "4", "--device", "cpu", "--workers", "1")


def of_paper(paper: str, **own: object) -> TrainSettings:
    return with_preset(DEFAULTS.changed(**own), paper, own)


def fuse(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four labelled clips of two people, with frames of 1024 values, a spectrogram and a log-Mel one."""
    path = tmp_path_factory.mktemp("store") / "features"
    rng = np.random.default_rng(0)
    keys = [FeatureKey("faces", {}), FeatureKey("net/none", {})]
    keys += [FeatureKey(name, SOUND) for name in ("spectrogram", "logmel")]
    with FeatureStore(path, create=True) as made, made.writer() as writer:
        for i in range(4):
            arrays = [
                {"times": np.arange(3) / 25},
                {"basic": rng.normal(i % 2, 1, (3, 1024)).astype(np.float32)},
                {"spectrogram": rng.normal(-60, 9, (70, 200)).astype(np.float32)},
                {"logmel": rng.normal(-9, 3, (70, 3, 40)).astype(np.float32)},
            ]
            streams = {key.stream: Outcome(key, arrays=part) for key, part in zip(keys, arrays, strict=True)}
            clip = Clip(f"{i}", "all", label=("Angry", "Happy")[i % 2], subject=f"s{i // 2}")
            writer.add(clip, None, streams)
    return path


def trained(store: Path, out: Path, *options: object) -> dict:
    result = fuse("train", "--store", store, "--out", out, *SHORT, *options)
    assert result.exit_code == 0, result.output
    return json.loads((out / "run.json").read_text())["settings"]


def test_the_network_of_zhou2021_is_the_papers(store: Path, tmp_path: Path) -> None:
    """§III-A, B and §IV: the spectrogram through the 1D-ABFCN with LRN, faces reduced by a convolution."""
    settings = trained(store, tmp_path / "am", "--preset", "zhou2021")
    assert {stream: part["name"] for stream, part in settings["features"].items()} == {
        "visual": "basic:net",
        "audio": "spectrogram",
    }
    head = settings["head"]
    assert head["fusion"] == "am-fbp"
    assert head["audio_encoder"] == {"name": "1d-abfcn", "channels": 1, "lrn": True, "weights": ""}
    assert (head["audio_attention"], head["visual_attention"]) == ("transformer", "conv")
    assert (head["lambda_audio"], head["lambda_visual"], head["dropout"]) == (0.3, 1.0, 0.3)
    assert (head["factors"], head["outputs"]) == (4, 128)  # K_G and O
    assert head["trunks"] == {"count": 6, "outputs": 192, "factors": 2, "seconds": None}  # H, O and K_M
    assert settings["training"]["learning_rate"] == 1e-4


@pytest.mark.parametrize("fusion", ["g-fbp", "concat", "decision"])
def test_zhou2021_trains_what_is_fused_for_200_epochs(fusion: str) -> None:
    made = of_paper("zhou2021", fusion=fusion)
    assert (made.epochs, made.batch, made.halve_after) == (200, 64, None)
    assert made.audio_encoder == "1d-abfcn" and "trunks" not in made.head


def test_the_single_systems_of_zhou2021() -> None:
    """§IV: 100 epochs in batches of 32, and §IV-A: halved after 50; no option of the other stream."""
    for fusion, other in (("audio", "visual"), ("faces", "audio")):
        made = of_paper("zhou2021", fusion=fusion)
        assert (made.epochs, made.batch, made.halve_after) == (100, 32, 50)
        assert made.learning_rate == 1e-4
        values = asdict(made)
        assert {name for name in values if other in name and values[name] != asdict(DEFAULTS)[name]} == set()
        assert not any(other in key for key in made.head)


def test_zhou2021_on_markers_is_as_for_iemocap() -> None:
    """§IV: the video system's rate of 0.0002 and λ_v of 0.5; H = 19 and λ_v of 1 where both are fused."""
    faces = of_paper("zhou2021", fusion="faces", visual="markers")
    assert (faces.head["lambda_visual"], faces.learning_rate, faces.visual_encoder) == (0.5, 2e-4, "1d-abfcn")
    both = of_paper("zhou2021", fusion="am-fbp", visual="markers")
    assert (both.head["lambda_visual"], both.learning_rate, both.head["trunks"]) == (1.0, 1e-4, 19)
    assert both.visual_attention == "transformer"
    assert "trunks" not in of_paper("zhou2021", fusion="g-fbp", visual="markers").head


def test_what_is_given_goes_before_a_preset(store: Path, tmp_path: Path) -> None:
    given = ("--preset", "zhou2021", "--fusion", "g-fbp", "--audio", "logmel", "--attention", "transformer")
    settings = trained(store, tmp_path / "own", *given, "--set", "lambda_audio=0.5")
    assert settings["features"]["audio"]["name"] == "logmel"
    head = settings["head"]
    assert head["audio_encoder"]["channels"] == 3 and head["lambda_audio"] == 0.5
    assert head["visual_attention"] == "transformer"


def test_what_a_paper_has_not_is_refused(store: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="zhou2021 has no fbp; it has am-fbp, m-fbp, ag-fbp, g-fbp, concat"):
        of_paper("zhou2021", fusion="fbp")
    out = ("--store", store, "--out", tmp_path / "run")
    result = fuse("cv", "--preset", "zhou2019", "--fusion", "g-fbp", *out)
    assert result.exit_code == 2 and "zhou2019 has no g-fbp" in result.output
    result = fuse("train", "--preset", "zhou2019", *out)  # the store has no vectors of AlexNet
    assert result.exit_code == 2 and "--audio-backbone alexnet@FILE" in result.output
    result = fuse("train", "--preset", "emotiw2019", *out)
    assert result.exit_code == 2 and "no network of its own; expected zhou2019 or zhou2021" in result.output
    result = fuse("train", "--preset", "zhou2020", *out)
    assert result.exit_code == 2 and "no recipe 'zhou2020'; did you mean zhou2021?" in result.output


def test_zhou2019_is_the_papers_whatever_the_defaults_are(store: Path) -> None:
    """Table 2 and fig. 2; of training, what zhou2021 §IV prints."""
    made = of_paper("zhou2019").settled(100)
    assert (made.fusion, made.audio) == ("fbp", "alexnet")
    assert (made.visual_attention, made.audio_attention) == ("transformer", "transformer")
    assert (made.dropout, made.learning_rate, made.epochs, made.batch) == (0.3, 1e-4, 200, 64)
    assert (made.head["outputs"], made.head["factors"], made.members) == (128, 4, 1)
    assert of_paper("zhou2019", fusion="faces").visual_attention == "transformer"


@pytest.mark.parametrize("paper", ["zhou2019", "zhou2021"])
def test_a_preset_leaves_no_number_to_the_clips(paper: str) -> None:
    for fusion in load(paper).network[0].heads:
        made = of_paper(paper, fusion=fusion)
        assert made.settled(20) == made.settled(20_000) == made


def test_every_run_of_a_papers_recipe_is_its_network() -> None:
    recipes = [load(name) for name in ("zhou2021-systems", "zhou2021-family", "zhou2021-encoders")]
    for recipe in recipes:
        for settings in plan(known(recipe), {}, [], Path("features"), Path("out")).runs.values():
            if settings.fusion != "faces":
                assert settings.audio == "spectrogram" and settings.audio_encoder is not None
            if settings.fusion in ("m-fbp", "am-fbp"):
                assert "trunks" not in settings.head  # six is the default
    markers = plan(known(load("zhou2021-iemocap")), {}, [], Path("features"), Path("out")).runs
    assert markers["am-fbp"].head["trunks"] == 19 and markers["faces"].learning_rate == 2e-4


def test_a_mix_of_the_papers_heads(store: Path, tmp_path: Path) -> None:
    out = tmp_path / "mix"
    result = fuse(
        "train", "--fusion", "2g-fbp + faces", "--preset", "zhou2021", "--store", store, "--out", out, *SHORT
    )
    assert result.exit_code == 0 and "1d-abfcn from random weights" in result.output, result.output
    assert "members: 3" in result.output
    result = fuse("train", "--halve-after", 1, "--store", store, "--out", tmp_path / "run", *SHORT)
    assert result.exit_code == 2 and "halved after epoch 1 of 1" in result.output
