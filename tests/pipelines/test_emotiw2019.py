"""``avemo emotiw2019``: five features to one submission, resumed, and the table beside the paper's."""

from __future__ import annotations

import csv
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from click.testing import CliRunner, Result

from avemo.cache.store import FeatureStore
from avemo.cache.writer import Outcome
from avemo.extract import DEFAULT_BACKBONE
from avemo.extract.backbones import get
from avemo.extract.clip import read_source
from avemo.extract.plan import Plan
from avemo.extract.streams.registry import keys_of
from avemo.fusion.evaluation.calibration import temperature, tempered
from avemo.fusion.evaluation.ensemble import average
from avemo.fusion.evaluation.scores import Scores
from avemo.fusion.training.runs import Run
from avemo.pipelines.cli.main import main
from avemo.pipelines.corpora.clips.find import find_clips
from avemo.pipelines.corpora.clips.folders import AFEW_CLASSES
from avemo.pipelines.demo.set import DEMO_NOTE, claim, make
from avemo.pipelines.fuse.priors import EMOTIW2019_TEST_COUNTS
from avemo.pipelines.recipes.results import Line, write

FEATURES = ["f-mean", "f-meanstd", "f-normfft", "f-meanstd-2", "f-ar-mean"]
TITLES = ["F-Mean", "F-MeanStd", "F-NormFFT", "F-MeanStd-2", "F-AR-Mean"]
PUBLISHED = ["62.14", "63.70", "61.35", "62.40", "62.92"]


def recipe(*arguments: object) -> Result:
    quick = ("--epochs", 2, "--workers", 1, "--device", "cpu")
    return CliRunner().invoke(main, ["emotiw2019", *map(str, (*arguments, *quick))])


@pytest.fixture(scope="module")
def afew(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders and files as AFEW's; the files hold no video, for all is in the store already."""
    folder = tmp_path_factory.mktemp("afew")
    for i, name in enumerate(AFEW_CLASSES):
        for split, count in {"Train": 2, "Val": 2}.items():
            for n in range(count):
                path = folder / f"{split}_AFEW/{name}/00{i}{n}.avi"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(f"{split} {name} {n}")
        (folder / "Test_AFEW").mkdir(exist_ok=True)
        (folder / f"Test_AFEW/00{i}0.avi").write_text(f"test {i}")
    return folder


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Random weights, of two face networks and an audio network."""
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(0)
    for name in ("affectnet", "rafdb"):
        torch.save(get("mobilefacenet").build().state_dict(), folder / f"{name}.pt")
    features = torchvision.models.alexnet(weights=None).features
    torch.save({f"features.{name}": value for name, value in features.state_dict().items()}, folder / "a.pth")
    return ["--backbone", f"mobilefacenet@{folder}/affectnet.pt", "--backbone",
            f"mobilefacenet@{folder}/rafdb.pt", "--audio-backbone", f"alexnet@{folder}/a.pth"]  # fmt: skip


DESCRIPTORS = {"f0": 1, "voice": 3, "level": 1, "loudness": 1, "spectrum": 4, "mfcc": 13}


def fill(store: Path, afew: Path, backbones: tuple[str, ...], audio: tuple[str, ...]) -> None:
    """Random features under the very keys that extraction would give them."""
    rng = np.random.default_rng(0)
    keys = keys_of(
        Plan(backbones=backbones, view_sets=("default", "wide"), audio_backbones=audio, device="cpu")
    )
    with FeatureStore(store, create=True) as opened, opened.writer() as writer:
        for clip in find_clips(afew).clips:
            centre = AFEW_CLASSES.index(clip.label) if clip.label else 0
            outcomes = {}
            for stream, key in keys.items():
                arrays, info = {}, {}
                if "/" in stream:
                    arrays = {name: rng.normal(centre, 1, (3, 8)) for name in ("basic", "mean", "std")}
                elif stream == "faces":
                    info = {"frames": 3, "faces": 3}
                elif stream == "descriptors":
                    arrays = {name: rng.normal(centre, 1, (70, width)) for name, width in DESCRIPTORS.items()}
                else:
                    name = "vectors" if "@" in stream else stream
                    arrays = {name: rng.normal(centre, 1, (70, 3, 40) if name == "logmel" else (5, 8))}
                arrays = {name: array.astype(np.float32) for name, array in arrays.items()}
                outcomes[stream] = Outcome(key, info=info, arrays=arrays)
            writer.add(clip, read_source(Path(clip.path)), outcomes)


@pytest.fixture(scope="module")
def done(afew: Path, weights: list[str], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    """The whole recipe, carried out on features that were there."""
    out = tmp_path_factory.mktemp("out") / "emotiw"
    fill(out / "features", afew, (weights[1], weights[3]), (weights[5],))
    result = recipe(afew, "--out", out, *weights, "--zip", "Team")
    assert result.exit_code == 0, result.output
    return out, result


def test_five_features_of_the_right_backbones(done: tuple[Path, Result]) -> None:
    out, _ = done
    streams = {}
    for feature in FEATURES:
        run = Run(out / "runs" / feature)
        streams[feature] = run.features["visual"].streams
        assert run.features["audio"].streams == ("alexnet@a",)
        assert (run.setup.head.fusion, run.setup.head.visual_attention) == ("fbp", "transformer")
        assert run.members == 1
    one, two = "mobilefacenet@affectnet", "mobilefacenet@rafdb"
    assert streams == {
        "f-mean": (f"{one}/default",),
        "f-meanstd": (f"{one}/default",),
        "f-normfft": (f"{one}/default",),
        "f-meanstd-2": (f"{one}/wide",),
        "f-ar-mean": (f"{one}/default", f"{two}/default"),
    }


def test_the_submission_is_the_reweighted_mean(done: tuple[Path, Result]) -> None:
    out, result = done
    runs = [Scores.read(out / f"runs/{name}/scores-test.csv").reorder(AFEW_CLASSES) for name in FEATURES]
    roots = np.sqrt([EMOTIW2019_TEST_COUNTS[name] for name in AFEW_CLASSES])
    degree = temperature(average([Scores.read(out / f"runs/{name}/scores-val.csv") for name in FEATURES]))
    places = (np.mean([scores.values for scores in runs], axis=0) ** (1 / degree) * roots).argmax(axis=1)
    expected = {clip: AFEW_CLASSES[i] for (_, clip), i in zip(runs[0].clips, places, strict=True)}
    with (out / "submission.csv").open() as file:
        assert {row["clip"]: row["label"] for row in csv.DictReader(file)} == expected
    with zipfile.ZipFile(out / "Team.zip") as archive:
        assert {name[:-4]: archive.read(name).decode() for name in archive.namelist()} == expected
    assert "a prior over that challenge's test labels" in result.output


def test_the_table_stands_beside_the_papers(done: tuple[Path, Result]) -> None:
    out, result = done
    scores = [Scores.read(out / f"runs/{name}/scores-val.csv") for name in FEATURES]
    mean = average(scores)
    roots = np.sqrt([EMOTIW2019_TEST_COUNTS[name] for name in mean.classes])
    predictions = [s.predicted for s in (*scores, mean)]
    calibrated = tempered(mean, temperature(mean)).values
    predictions.append(tuple(mean.classes[i] for i in (calibrated * roots).argmax(axis=1)))
    truths = [s.truth for s in (*scores, mean, mean)]
    accuracies = [np.mean([t == p for t, p in zip(*pair, strict=True)])
                  for pair in zip(truths, predictions, strict=True)]  # fmt: skip
    names = [*TITLES, "mean of these 5", "mean of these 5, re-weighted"]
    published = [*PUBLISHED, "-", "65.50"]
    markdown = (out / "results.md").read_text()
    for name, accuracy, paper in zip(names, accuracies, published, strict=True):
        assert f"| {name} | 14 | {100 * accuracy:.2f} |" in markdown
        assert any(line.startswith(name) and line.endswith(paper) for line in result.output.splitlines())
    with (out / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["run"] for row in rows] == names
    assert [float(row["accuracy"]) for row in rows] == pytest.approx(accuracies)
    assert rows[0]["paper"] == "0.6214" and rows[-1]["paper"] == "0.655"
    assert "f-ar-mean:mobilefacenet@affectnet+mobilefacenet@rafdb." in markdown
    assert "sound: alexnet" in markdown and "IR50 trained on AffectNet" in markdown


def test_a_second_call_does_nothing_again(done: tuple[Path, Result], afew: Path, weights: list[str]) -> None:
    out, first = done
    models = {path: path.stat().st_mtime_ns for path in out.glob("runs/*/*.safetensors")}
    before = {path: path.read_bytes() for path in out.rglob("*.csv")}
    again = recipe(afew, "--out", out, *weights, "--zip", "Team")
    assert again.exit_code == 0, again.output
    assert "nothing to do, all 35 clips are there already" in again.output
    assert again.output.count("1 of them trained already") == 5
    assert {path: path.stat().st_mtime_ns for path in models} == models
    assert {path: path.read_bytes() for path in before} == before
    assert again.stdout.splitlines()[-12:] == first.stdout.splitlines()[-12:]


def test_one_backbone_makes_four_features(afew: Path, tmp_path: Path) -> None:
    fill(tmp_path / "features", afew, (DEFAULT_BACKBONE,), ())
    result = recipe(afew, "--out", tmp_path, "--prior", "train", "--members", 2)
    assert result.exit_code == 0, result.output
    assert "left out: F-AR-Mean: it reads a second backbone" in result.stderr
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == sorted(FEATURES[:4])
    assert Run(tmp_path / "runs/f-mean").members == 2
    markdown = (tmp_path / "results.md").read_text()
    assert "Used here, sound: functionals." in markdown
    assert "the training labels' counts" in markdown
    assert "65.50" not in markdown


def test_validation_clips_that_were_trained_on_validate_nothing(afew: Path, tmp_path: Path) -> None:
    fill(tmp_path / "features", afew, (DEFAULT_BACKBONE,), ())
    result = recipe(afew, "--out", tmp_path, "--fit-on", "train+val", "--prior", "none")
    assert result.exit_code == 0, result.output
    assert "nothing to validate on" in (tmp_path / "results.md").read_text()
    assert "| F-Mean | - | - | - | 62.14 |" in (tmp_path / "results.md").read_text()
    card = json.loads((tmp_path / "runs/f-mean/run.json").read_text())
    assert sum(card["train_counts"].values()) == 28


def test_wrong_input_is_told(afew: Path, tmp_path: Path) -> None:
    def refused(*arguments: object) -> str:
        result = recipe(*arguments)
        assert result.exit_code == 2, result.output
        return " ".join(result.output.split())

    three = [word for name in ("dlib", "ferplusnet", "ferresnet") for word in ("--backbone", name)]
    assert "3 backbones given" in refused(afew, "--out", tmp_path / "out", *three)
    assert "--folds would do nothing" in refused(afew, "--out", tmp_path / "out", "--folds", "subject")
    assert "--segment-backbone would do nothing" in refused(
        afew, "--out", tmp_path / "out", "--segment-backbone", "dlib"
    )
    assert "no detector 'x'" in refused(afew, "--out", tmp_path / "out", "--detector", "x")
    assert "needs a weights file" in refused(afew, "--out", tmp_path / "out", "--audio-backbone", "alexnet")
    (tmp_path / "clips").mkdir()
    (tmp_path / "clips/a.mp4").write_text("-")
    assert "not laid out as 'afew'" in refused(tmp_path / "clips", "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_line_without_clips_has_dashes_and_the_papers_figure(tmp_path: Path) -> None:
    write("Title", [Line("one", paper=0.6)], ["A note."], tmp_path, matrices=False)
    text = (tmp_path / "results.md").read_text()
    assert "A note.\n\n| run | clips |" in text
    assert "| one | - | - | - | 60.00 |\n" in text


@pytest.mark.slow
def test_from_the_demo_set_to_the_table(tmp_path: Path) -> None:
    clips = tmp_path / "clips"
    for _ in make(clips, claim(clips, 1, 0), workers=2):
        pass
    call = (clips, "--out", tmp_path / "out", "--max-frames", 2, "--zip", "demo")
    result = recipe(*call)
    assert result.exit_code == 0, result.output
    assert DEMO_NOTE in result.output and DEMO_NOTE in (tmp_path / "out/results.md").read_text()
    with zipfile.ZipFile(tmp_path / "out/demo.zip") as archive:
        assert len(archive.namelist()) == 7
    again = recipe(*call)
    assert "nothing to do, all 21 clips are there already" in again.output
    assert again.stdout.splitlines()[-10:] == result.stdout.splitlines()[-10:]
