"""``avemo interspeech2019``: two cross-validations, resumed, and the tables in the paper's shape."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result

from avemo.cache.store import FeatureStore
from avemo.cache.writer import Outcome
from avemo.extract.backbones import get
from avemo.extract.clip import read_source
from avemo.extract.plan import Plan
from avemo.extract.streams.registry import keys_of
from avemo.fusion.evaluation.metrics import summary
from avemo.fusion.evaluation.scores import Scores
from avemo.pipelines.cli.main import main
from avemo.pipelines.corpora.clips.find import find_clips
from avemo.pipelines.recipes.recipe import load
from avemo.pipelines.recipes.results import confusion
from avemo.pipelines.recipes.run import Done, lines_of

CLASSES = ("Angry", "Happy", "Sad")
SMALL = [word for change in ("lstm=6", "hidden=6", "learning_rate=5e-3") for word in ("--set", change)]
QUICK = ("--epochs", 12, *SMALL, "--workers", 1, "--device", "cpu")
BY_SUBJECT, BY_CLIP = "runs/leave-one-subject-out", "runs/6-folds"


def recipe(*arguments: object) -> Result:
    result = CliRunner().invoke(main, ["interspeech2019", *map(str, (*arguments, *QUICK))])
    assert "Traceback" not in result.output
    return result


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A manifest of 24 clips of four subjects; the files hold no video, for all is in the store already."""
    folder = tmp_path_factory.mktemp("clips")
    lines = ["path,label,subject"]
    for i in range(24):
        (folder / f"{i:02d}.mp4").write_text(f"clip {i}")
        lines.append(f"{i:02d}.mp4,{CLASSES[i % 3]},s{i // 6}")
    (folder / "clips.csv").write_text("\n".join(lines) + "\n")
    return folder


def fill(store: Path, clips: Path, segment_audio: tuple[str, ...] = ()) -> None:
    """Features that tell the classes, under the very keys that extraction would give them."""
    rng = np.random.default_rng(0)
    plan = Plan(view_sets=("none",), device="cpu", segments=True, segment_backbones=segment_audio)
    times = np.arange(40) / 25
    spans = np.array([[0, 0.655], [0.3, 0.955], [0.6, 1.255]])
    with FeatureStore(store, create=True) as opened, opened.writer() as writer:
        for clip in find_clips(clips, manifest=clips / "clips.csv").clips:
            level = CLASSES.index(clip.label or "")
            arrays = {
                "faces": {"times": times, "has_face": np.ones(40, bool)},
                "segments": {
                    "image": rng.integers(0, 100 + 60 * level, (3, 64, 64, 3)).astype(np.uint8),
                    "times": spans,
                },
            }
            outcomes = {}
            for stream, key in keys_of(plan).items():
                own = arrays.get(stream, {})
                if stream.endswith("/none"):
                    own = {"basic": rng.normal(level, 1, (40, 4)).astype(np.float32)}
                elif stream.startswith("segments/"):
                    own = {"vectors": rng.normal(level, 1, (3, 5)).astype(np.float32), "times": spans}
                elif stream not in arrays:
                    own = {stream: rng.normal(0, 1, (70, 3, 40)).astype(np.float32)}
                outcomes[stream] = Outcome(key, info={"frames": 40, "faces": 40}, arrays=own)
            writer.add(clip, read_source(Path(clip.path)), outcomes)


@pytest.fixture(scope="module")
def done(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    """The whole recipe, carried out on features that were there."""
    out = tmp_path_factory.mktemp("out") / "segments"
    fill(out / "features", clips)
    result = recipe(clips, "--manifest", clips / "clips.csv", "--out", out)
    assert result.exit_code == 0, result.output
    return out, result


def test_both_protocols_end_in_their_figures(done: tuple[Path, Result]) -> None:
    out, result = done
    with (out / "results.csv").open(newline="") as file:
        rows = {row["run"]: row for row in csv.DictReader(file)}
    for folder, name in ((BY_SUBJECT, "leave one subject out"), (BY_CLIP, "6 folds")):
        figures = summary(Scores.read(out / folder / "scores.csv"))
        assert figures.accuracy >= 0.8
        assert float(rows[name]["accuracy"]) == figures.accuracy
        assert f"{100 * figures.accuracy:.2f}" in result.stdout
    assert rows["leave one subject out"]["marks"] == ""
    assert rows["6 folds"]["marks"] == "same subjects in training and test"
    card = json.loads((out / BY_SUBJECT / "run.json").read_text())["settings"]
    assert card["head"]["fusion"] == "segments" and card["head"]["segments"]["lstm"] == 6
    assert [card["features"][stream]["name"] for stream in ("visual", "audio")] == [
        "basic:ferplusnet",
        "mfcc-stats",
    ]
    assert card["training"]["batch"] == 8


def test_the_papers_figures_stand_beside(done: tuple[Path, Result]) -> None:
    """Tables 1 and 2, of both data sets, since these clips are of neither."""
    out, result = done
    page = (out / "results.md").read_text()
    figures = summary(Scores.read(out / BY_SUBJECT / "scores.csv"))
    for line in (
        "| leave one subject out: Priyasad et al., rml | - | - | - | 76.13 |",
        "| 6 folds: Seng et al., enterface | - | - | - | 86.67 |",
        f"| leave one subject out | 24 | {100 * figures.accuracy:.2f} | {100 * figures.uar:.2f} | - |",
        "| 6 folds (same subjects in training and test) | 24 |",
        "| % | Angry | Happy | Sad |",
    ):
        assert line in page
    assert all(part in result.stdout for part in ("98.70", "faces: basic:ferplusnet", "results.csv"))
    with (out / "results.csv").open(newline="") as file:
        assert len([*csv.DictReader(file)]) == 14
    with (out / "confusion-leave-one-subject-out.csv").open(newline="") as file:
        matrix = list(csv.reader(file))
    assert matrix[0] == ["true", *CLASSES]
    for name, *shares in matrix[1:]:
        assert sum(map(float, shares)) == pytest.approx(100, abs=0.02)
        assert float(shares[CLASSES.index(name)]) == pytest.approx(100 * figures.recalls[name], abs=0.005)


def test_the_papers_own_data_sets_have_its_figures_alone_beside_them() -> None:
    scores = Scores((("all", "a"), ("all", "b")), ("An", "Sa"), np.array([[1, 0], [1, 0]]), ("An", "Sa"))
    run = Done(Path(), [scores], scores, {}, None)
    done = {"leave one subject out": run, "6 folds": run}
    lines, _ = lines_of(load("interspeech2019"), done, "none", "rml")
    assert [(line.name.partition(": ")[2], line.paper) for line in lines[:4]] == [
        ("Sarvestani et al., rml", 0.7203),
        ("Zhang et al., rml", 0.7432),
        ("Priyasad et al., rml", 0.7613),
        ("", None),
    ]
    assert [line.paper for line in lines[4:]] == [0.8222, 0.9083, 0.9870, None]
    assert confusion(scores) == (["%", "An", "Sa"], [["An", "100.00", "0.00"], ["Sa", "100.00", "0.00"]])


def test_it_goes_on_where_it_stopped(done: tuple[Path, Result], clips: Path) -> None:
    out, _ = done
    before = (out / "results.csv").read_bytes()
    (out / BY_CLIP / "folds/fold-02-member-000.csv").unlink()
    arguments = (clips, "--manifest", clips / "clips.csv", "--out", out)
    again = recipe(*arguments)
    assert again.exit_code == 0, again.output
    assert "nothing to do, all 24 clips" in again.output
    assert "0 of 4 trainings to do" in again.output and "1 of 6 trainings to do" in again.output
    assert (out / "results.csv").read_bytes() == before
    other = recipe(*arguments, "--set", "vote=mean")
    assert other.exit_code == 2 and "head.segments.vote: majority / mean" in other.output


def test_a_network_over_the_images(clips: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    torch.save(get("mobilefacenet").build().state_dict(), tmp_path / "mfcc.pt")
    network = f"mobilefacenet@{tmp_path / 'mfcc.pt'}"
    fill(tmp_path / "out/features", clips, (network,))
    result = recipe(clips, "--manifest", clips / "clips.csv", "--out", tmp_path / "out",
                    "--segment-backbone", network, "--set", "vote=mean", "--members", 2)  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "mfcc-vectors:mobilefacenet@mfcc, 5 values" in result.output
    assert "sound: mfcc-vectors:mobilefacenet@mfcc." in (tmp_path / "out/results.md").read_text()


def test_what_cannot_be_is_told_before_any_work(clips: Path, tmp_path: Path) -> None:
    few = "\n".join((clips / "clips.csv").read_text().splitlines()[:16])
    (tmp_path / "few.csv").write_text(few.replace("\n", f"\n{clips}/"))
    for options, complaint in {
        ("--folds", "speaker"): "No such option",
        ("--set", "lsmt=4"): "no head has a setting 'lsmt'; did you mean lstm?",
        ("--set", "trunks=4"): "--set trunks would do nothing: the fusion segments has no trunks",
        ("--fit-on", "train+val"): "No such option",
        ("--manifest", tmp_path / "few.csv"): "6 folds cannot be made: the class 'Angry' has 5 clips",
        ("--segment-backbone", "vgg19@none.pth"): "none.pth",
    }.items():
        manifest = () if "--manifest" in options else ("--manifest", clips / "clips.csv")
        result = recipe(clips, *manifest, "--out", tmp_path / "out", *options)
        assert result.exit_code == 2 and complaint in " ".join(result.output.split()), result.output
        assert not (tmp_path / "out").exists()
