"""``avemo-fuse report``: what stands on the page, that it needs nothing else, and that it escapes all."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from avemo.cache.clips import Clip
from avemo.cache.keys import FeatureKey
from avemo.cache.store import FeatureStore
from avemo.cache.writer import Outcome
from avemo.fusion.runs import Run
from avemo.fusion.scores import Scores
from avemo.pipelines.demo_set import DEMO_NOTE, claim
from avemo.pipelines.fuse import main
from avemo.pipelines.page import Html, element, page, together
from avemo.pipelines.report_charts import (
    HEIGHT,
    LEFT,
    MOST_POINTS,
    RIGHT,
    TOP,
    WIDTH,
    Lines,
    confusion,
    curves,
)

CLASSES = ("Angry", "Happy", "Sad")


class Page(HTMLParser):
    """Reads a page: its text, its cells row by row, and whether every element is closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.rows: list[list[str]] = []
        self.words: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        self.attributes += attrs
        if tag != "meta":
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th") and self.rows:
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)
        if {"td", "th"} & {*self.open}:
            self.rows[-1][-1] += data

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def fill(path: Path, classes: Sequence[str] = CLASSES, clips: str = "", faceless: int = 1) -> Path:
    """A store of 12 training, 9 validation and 3 unlabelled test clips."""
    rng = np.random.default_rng(0)
    faces, visual, sound = (
        FeatureKey("faces", {}),
        FeatureKey("dlib/none", {"size": 4}),
        FeatureKey("logmel", {}),
    )
    with FeatureStore(path, create=True) as store, store.writer() as writer:
        for split, count in {"train": 12, "val": 9, "test": 3}.items():
            for i in range(count):
                values = rng.normal(size=(3, 4)).astype(np.float32) + i % 3
                streams = {
                    "faces": Outcome(faces, info={"frames": 3, "faces": int(i >= faceless)}),
                    visual.stream: Outcome(visual, arrays={"basic": values}),
                    "logmel": Outcome(
                        sound, arrays={"logmel": rng.normal(size=(70, 3, 40)).astype(np.float32)}
                    ),
                }
                label = None if split == "test" else classes[i % 3]
                writer.add(Clip(f"{i}", split, clips, label, f"s{i % 2}"), None, streams)
    return path


def fuse(*arguments: object) -> str:
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    return result.output


def train(store: Path, out: Path, *more: object, command: str = "train") -> Path:
    quick = ("--epochs", 3, "--hidden", 4, "--outputs", 4, "--factors", 2, "--members", 2, "--lr", 0.01)
    fuse(command, "--store", store, "--out", out, *quick, *more)
    return out


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    return train(fill(folder / "features"), folder / "run")


@pytest.fixture(scope="module")
def report(run: Path) -> str:
    assert fuse("report", run) == f"wrote {run / 'report.html'}\n"
    return (run / "report.html").read_text(encoding="utf-8")


def test_figures_are_those_of_the_scores(run: Path, report: str) -> None:
    scores = Scores.read(run / "scores-val.csv")
    truth, predicted = np.array(scores.truth), np.array(scores.predicted)
    accuracy = (truth == predicted).mean()
    recalls = {name: (predicted[truth == name] == name).mean() for name in CLASSES}
    rows = Page(report).rows
    val = next(row for row in rows if row[0] == "val")
    assert val[1:4] == ["9", f"{accuracy:.1%}", f"{np.mean([*recalls.values()]):.1%}"]
    seen = next(row for row in rows if row[0] == "val, clips with a face")
    assert seen[1:3] == ["8", f"{(truth == predicted)[np.array(scores.clips)[:, 1] != '0'].mean():.1%}"]
    assert any(row[0] == "train (trained on)" and row[1] == "12" for row in rows)
    for name, recall in recalls.items():
        assert [name, "", f"{recall:.1%}", f"{round(3 * recall)} of 3"] in rows
        counts = [int((predicted[truth == name] == other).sum()) for other in CLASSES]
        cells = [f"{count / 3:.0%}{count}" if count else "·" for count in counts]
        assert [name, *cells] in rows


def test_members_settings_and_keys_are_told(run: Path, report: str) -> None:
    text = Page(report).text
    last = [Run(run).history(number)[-1].val_accuracy for number in (0, 1)]
    assert f"accuracy {np.mean(last):.1%} ± {np.std(last, ddof=1):.1%}" in text
    for part in ("Mean of 2 members on val", "basic:dlib, 4 values", "learning rate 0.01", "fit on train",
                 "Angry 4, Happy 4, Sad 4", "validation"):  # fmt: skip
        assert part in text
    assert f"dlib/none {FeatureKey('dlib/none', {'size': 4}).digest}" in text
    assert "None" not in text


def test_the_page_needs_nothing_else(report: str) -> None:
    assert not re.search(r"https?:|//|<script|<link|@import|url\(", report)
    assert not {name for name, _ in Page(report).attributes} & {"src", "href"}
    assert "prefers-color-scheme: dark" in report
    assert 'name="viewport"' in report


def test_names_cannot_become_html(tmp_path: Path) -> None:
    classes = ("<script>alert(1)</script>", "b\"&'<", "c")
    folder = train(fill(tmp_path / "features", classes), tmp_path / "<img src=x>")
    fuse("report", folder)
    text = (folder / "report.html").read_text(encoding="utf-8")
    assert "<script" not in text and "<img" not in text
    assert all(name in Page(text).text for name in (*classes[:2], "<img src=x>"))


def test_several_runs_are_compared(run: Path, tmp_path: Path) -> None:
    other = train(run.parent / "features", tmp_path / "sound", "--fusion", "audio", "--fit-on", "train+val")
    fuse("report", run, other, "--out", tmp_path / "both.html")
    found = Page((tmp_path / "both.html").read_text(encoding="utf-8"))
    assert [row[:2] for row in found.rows if row[0] in ("run, val", "sound, val (trained on)")] == [
        ["run, val", "9"], ["sound, val (trained on)", "9"]]  # fmt: skip
    assert not (tmp_path / "sound/report.html").exists()


def test_cross_validation_has_a_report_without_curves(run: Path, tmp_path: Path) -> None:
    kind = ("--folds", "kfold:3", "--allow-same-subjects")
    folder = train(run.parent / "features", tmp_path / "cv", *kind, command="cv")
    fuse("report", folder)
    text = (folder / "report.html").read_text(encoding="utf-8")
    found = Page(text)
    mark = "same subjects in training and test"
    row = next(row for row in found.rows if row[0] == f"held-out clips ({mark})")
    scores = Scores.read(folder / "scores.csv")
    assert row[1:3] == ["21", f"{np.mean(np.array(scores.truth) == np.array(scores.predicted)):.1%}"]
    assert "folds kfold:3" in found.text and "<svg" not in text
    assert f"cv: {mark}" in found.text
    assert f"Calibration on held-out clips ({mark})" in found.text
    bins = [row for row in found.rows if re.fullmatch(r"[\d.]+% to [\d.]+%", row[0])]
    assert sum(int(row[1]) for row in bins) == 21


def test_scores_on_the_demo_set_are_marked(tmp_path: Path) -> None:
    claim(tmp_path / "demo", 1, 0)
    store = fill(tmp_path / "features", clips=str(tmp_path / "demo/Train_AFEW/Angry/1.mp4"), faceless=0)
    folder = train(store, tmp_path / "run")
    fuse("report", folder)
    text = (folder / "report.html").read_text(encoding="utf-8")
    assert text.count(DEMO_NOTE) == 1
    assert "clips with a face" not in text


def test_what_is_no_finished_run_is_told(run: Path, tmp_path: Path) -> None:
    def refused(path: Path) -> str:
        result = CliRunner().invoke(main, ["report", str(path)])
        assert result.exit_code == 2
        return " ".join(result.output.split())

    assert "is no run" in refused(tmp_path)
    unfinished = tmp_path / "run"
    unfinished.mkdir()
    (unfinished / "run.json").write_bytes((run / "run.json").read_bytes())
    assert "has no scores yet" in refused(unfinished)
    (unfinished / "scores-val.csv").write_bytes((run / "scores-val.csv").read_bytes())
    assert "member 0 of 2 is missing" in refused(unfinished)
    assert not (unfinished / "report.html").exists()


def drawn(svg: str) -> Mapping[str, list[list[tuple[float, float]]]]:
    """Points of the paths of each class."""
    found: dict[str, list[list[tuple[float, float]]]] = {}
    for points, style in re.findall(r'<path d="M([^"]*)" class="([^"]*)"', svg):
        pairs = [tuple(map(float, pair.split(","))) for pair in points.split()]
        found.setdefault(style, []).append(pairs)  # type: ignore[arg-type]
    return found


def test_curves_go_where_the_values_are() -> None:
    svg = curves([Lines("val", [[0.0, 0.5, 1.0], [1.0, 0.5, 0.0]])], "Accuracy", share=True)
    paths = drawn(svg)
    bottom = HEIGHT - 40
    assert paths["member val"][0] == [(LEFT, bottom), ((LEFT + WIDTH - RIGHT) / 2, (TOP + bottom) / 2),
                                      (WIDTH - RIGHT, TOP)]  # fmt: skip
    assert {y for _, y in paths["mean val"][0]} == {(TOP + bottom) / 2}
    assert "100%" in svg and 'aria-label="Accuracy over 3 epochs"' in svg


def test_long_and_diverged_curves_stay_drawable() -> None:
    values = [float(i) for i in range(1000)]
    paths = drawn(curves([Lines("train", [values])], "Loss", share=False))
    assert list(paths) == ["mean train"]
    (line,) = paths["mean train"]
    assert len(line) <= MOST_POINTS
    assert line[-1][0] == WIDTH - RIGHT
    nan = float("nan")
    assert all("nan" not in curves([Lines("train", [v])], "Loss", False) for v in ([1.0, nan, 2.0], [nan]))
    assert len(drawn(curves([Lines("train", [[0.0]])], "Loss", share=False))["mean train"][0]) == 1


def test_a_class_without_clips_has_an_empty_row() -> None:
    found = Page(confusion(("a", "b"), np.array([[3, 1], [0, 0]])))
    assert found.rows[1:] == [["a", "75%3", "25%1"], ["b", "·", "·"]]


def test_elements_escape_what_is_not_html() -> None:
    assert element("p", "a<b", Html("<i>c</i>"), class_="x", aria_label='"', id=None) == (
        '<p class="x" aria-label="&quot;">a&lt;b<i>c</i></p>'
    )
    assert together(["&", Html("&amp;"), 1]) == "&amp;&amp;1"
    assert "<title>T: a&lt;b</title>" in page("T", "a<b", [], "")
