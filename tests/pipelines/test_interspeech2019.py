"""``avemo interspeech2019``: two cross-validations, resumed, and the tables in the paper's shape."""

from __future__ import annotations

import csv
import json
import re
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
from avemo.pipelines.recipes.interspeech2019 import Result as Outcomes

CLASSES = ("Angry", "Happy", "Sad")
QUICK = ("--epochs", 12, "--lstm", 6, "--hidden", 6, "--lr", 5e-3, "--workers", 1, "--device", "cpu")


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
    result = recipe(clips, "--manifest", clips / "clips.csv", "--out", out, "--folds", "subject,kfold:4")
    assert result.exit_code == 0, result.output
    return out, result


def test_both_protocols_end_in_their_figures(done: tuple[Path, Result]) -> None:
    out, result = done
    finals = re.findall(r"^accuracy (\d\.\d{3})  UAR (\d\.\d{3})(.*)$", result.stdout, re.MULTILINE)
    for folder, final in zip(("cv-subject", "cv-kfold-4"), finals, strict=True):
        figures = summary(Scores.read(out / folder / "scores.csv"))
        assert figures.accuracy >= 0.8
        assert final[:2] == (f"{figures.accuracy:.3f}", f"{figures.uar:.3f}")
    assert finals[0][2] == "" and "same subjects in training and test" in finals[1][2]
    card = json.loads((out / "cv-subject/run.json").read_text())["settings"]
    assert card["head"]["fusion"] == "segments" and card["head"]["segments"]["lstm"] == 6
    assert [card["features"][stream]["name"] for stream in ("visual", "audio")] == [
        "basic:ferresnet",
        "mfcc-stats",
    ]


def test_the_tables_are_in_the_papers_shape(done: tuple[Path, Result]) -> None:
    out, result = done
    page = (out / "results.md").read_text()
    figures = summary(Scores.read(out / "cv-subject/scores.csv"))
    assert "## Leave one subject out (table 1)" in page
    assert "## 4 folds (table 2) (same subjects in training and test)" in page
    for line in (
        "| RML | Priyasad et al. | 76.13% | - | - |",
        "| eNTERFACE'05 | Seng et al. | 86.67% | - | - |",
    ):
        assert line in page
    assert f"| avemo | {figures.accuracy:.2%} | {figures.uar:.2%} | 24 |" in page
    assert "| % | Angry | Happy | Sad |" in page
    assert all(part in result.stdout for part in ("98.70%", "faces by ferresnet", "results.csv"))
    with (out / "results.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["folds"] for row in rows] == ["subject"] * 7 + ["kfold:4"] * 7
    assert float(rows[6]["accuracy"]) == figures.accuracy and rows[6]["reference"] == "avemo"
    with (out / "confusion-subject.csv").open(newline="") as file:
        matrix = list(csv.reader(file))
    assert matrix[0] == ["true", *CLASSES]
    for name, *shares in matrix[1:]:
        assert sum(map(float, shares)) == pytest.approx(100, abs=0.02)
        assert float(shares[CLASSES.index(name)]) == pytest.approx(100 * figures.recalls[name], abs=0.005)


def test_the_papers_own_data_sets_have_its_figures_alone_beside_them() -> None:
    scores = Scores((("all", "a"), ("all", "b")), ("An", "Sa"), np.array([[1, 0], [1, 0]]), ("An", "Sa"))
    found = Outcomes("subject", "RML", scores).lines
    assert [line[:3] for line in found[:3]] == [
        ["RML", "Sarvestani et al.", 0.7203],
        ["RML", "Zhang et al.", 0.7432],
        ["RML", "Priyasad et al.", 0.7613],
    ]
    assert found[3:] == [["RML", "avemo", 0.5, 0.5, 2]]
    assert len(Outcomes("kfold:10", "eNTERFACE'05", scores).lines) == 4
    assert len(Outcomes("group-kfold:3", "RML", scores).lines) == 1
    assert Outcomes("kfold:10", "RML", scores).title == "10 folds (table 2)"
    assert Outcomes("subject", "RML", scores).confusion == (
        ["%", "An", "Sa"],
        [["An", "100.00", "0.00"], ["Sa", "100.00", "0.00"]],
    )


def test_it_goes_on_where_it_stopped(done: tuple[Path, Result], clips: Path) -> None:
    out, _ = done
    before = (out / "results.csv").read_bytes()
    (out / "cv-kfold-4/folds/fold-02-member-000.csv").unlink()
    arguments = (clips, "--manifest", clips / "clips.csv", "--out", out, "--folds", "subject,kfold:4")
    again = recipe(*arguments)
    assert again.exit_code == 0, again.output
    assert "nothing to do, all 24 clips" in again.output
    assert "0 of 4 trainings to do" in again.output and "1 of 4 trainings to do" in again.output
    assert (out / "results.csv").read_bytes() == before
    other = recipe(*arguments, "--vote", "mean")
    assert other.exit_code == 2 and "head.segments.vote: majority / mean" in other.output


def test_a_network_over_the_images(clips: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    torch.save(get("mobilefacenet").build().state_dict(), tmp_path / "mfcc.pt")
    network = f"mobilefacenet@{tmp_path / 'mfcc.pt'}"
    fill(tmp_path / "out/features", clips, (network,))
    result = recipe(clips, "--manifest", clips / "clips.csv", "--out", tmp_path / "out", "--folds", "subject",
                    "--segment-backbone", network, "--vote", "mean", "--members", 2)  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "mfcc-vectors:mobilefacenet@mfcc, 5 values" in result.output
    assert "sound by mobilefacenet@mfcc" in (tmp_path / "out/results.md").read_text()


def test_what_cannot_be_is_told_before_any_work(clips: Path, tmp_path: Path) -> None:
    manifest = ("--manifest", clips / "clips.csv")
    for options, complaint in {
        ("--folds", "speaker"): "--folds 'speaker'",
        ("--folds", ","): "folds expected, as in subject,kfold:6",
        ("--folds", "kfold:9"): "9 folds cannot be made: the class 'Angry' has 8 clips",
        ("--paper", tmp_path / "none.pth"): "none.pth",
    }.items():
        result = recipe(clips, *manifest, "--out", tmp_path / "out", *options)
        assert result.exit_code == 2 and complaint in " ".join(result.output.split()), result.output
        assert not (tmp_path / "out").exists()
