"""``avemo-fuse report``: what stands on the page, that it needs nothing else, and that it escapes all."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from playwright.sync_api import Browser
from plotly.offline import get_plotlyjs

from avemo.cache.clips import Clip
from avemo.cache.keys import FeatureKey
from avemo.cache.store import FeatureStore
from avemo.cache.writer import Outcome
from avemo.fusion.evaluation.insight import AttentionOverTime
from avemo.fusion.evaluation.intervals import Interval, of_share
from avemo.fusion.evaluation.scores import Scores
from avemo.fusion.training.runs import Run
from avemo.fusion.training.training import Epoch
from avemo.pipelines.cli.fuse import main
from avemo.pipelines.demo.set import DEMO_NOTE, claim
from avemo.pipelines.pages.html import templates
from avemo.pipelines.pages.report.clips import SURE, WRONG, select_clips
from avemo.pipelines.pages.report.figures import (
    MOST_MOMENTS,
    MOST_POINTS,
    attention_over_time,
    learning,
    neighbours,
)
from avemo.pipelines.pages.report.insight import MOST_CLIPS
from avemo.pipelines.pages.report.published import AFEW_VALIDATION, published
from avemo.pipelines.pages.report.results import Group

from ..browsing import DESKTOP, PHONE, opened
from ..options import keys, without_idle

CLASSES = ("Angry", "Happy", "Sad")
DRAWN = "document.documentElement.dataset.drawn === 'yes'"
COUNTS = {"train": 12, "val": 9, "test": 3}


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
        if tag not in ("meta", "img"):
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th") and self.rows:
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] == ["script"]:
            return
        self.words.append(data)
        if {"td", "th"} & {*self.open}:
            self.rows[-1][-1] += data

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def fill(
    path: Path,
    classes: Sequence[str] = CLASSES,
    clips: str = "",
    faceless: int = 1,
    counts: Mapping[str, int] = COUNTS,
    prefix: str = "",
) -> Path:
    """A store of 12 training, 9 validation and 3 unlabelled test clips; or of other ``counts``."""
    rng = np.random.default_rng(0)
    faces, visual, sound = (
        FeatureKey("faces", {}),
        FeatureKey("dlib/none", {"size": 4}),
        FeatureKey("logmel", {}),
    )
    with FeatureStore(path, create=True) as store, store.writer() as writer:
        for split, count in counts.items():
            for i in range(count):
                values = rng.normal(size=(3, 4)).astype(np.float32) + i % 3
                streams = {
                    "faces": Outcome(faces, info={"frames": 3, "faces": int(i >= faceless)}),
                    visual.stream: Outcome(visual, arrays={"basic": values}),
                    "logmel": Outcome(
                        sound, arrays={"logmel": rng.normal(size=(70, 3, 40)).astype(np.float32)}
                    ),
                }
                label = None if split == "test" else classes[i % len(classes)]
                writer.add(Clip(f"{prefix}{i}", split, clips, label, f"{split}{i % 2}"), None, streams)
    return path


def invoked(*arguments: object) -> Result:
    result = CliRunner().invoke(main, without_idle(arguments))
    assert result.exit_code == 0, result.output
    return result


def fuse(*arguments: object) -> str:
    return invoked(*arguments).stdout


def train(store: Path, out: Path, *more: object, command: str = "train") -> Path:
    quick = ("--epochs", 3, *keys("hidden=4", "outputs=4", "factors=2"), "--members", 2, "--lr", 0.01)
    fuse(command, "--store", store, "--out", out, *quick, *more)
    return out


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, make_clip: Callable[..., Path]) -> Path:
    folder = tmp_path_factory.mktemp("report")
    clip = make_clip(folder / "clip.mp4")
    return train(fill(folder / "features", clips=str(clip)), folder / "run", "--fusion", "am-fbp")


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
    own = report.replace(get_plotlyjs(), "")
    assert len(report) - len(own) == len(get_plotlyjs()), "the library is there once"
    assert not re.search(r"https?:|<link|@import|url\(|<script src", own)
    addresses = [value for name, value in Page(own).attributes if name in ("src", "href")]
    assert addresses and all(str(value).startswith("data:image/") for value in addresses)
    assert "prefers-color-scheme: dark" in report
    assert 'name="viewport"' in report


HOSTILE = (
    "<script>alert(1)</script>",
    "b\"&'<",
    "</script>",
    "javascript:alert(1)",
    "<img src=x onerror=alert(1)>",
)


def test_names_cannot_become_html(tmp_path: Path, browser: Browser) -> None:
    folder = train(fill(tmp_path / "features", HOSTILE, prefix=HOSTILE[-1]), tmp_path / "<img src=x>")
    fuse("report", folder)
    text = (folder / "report.html").read_text(encoding="utf-8")
    own = text.replace(get_plotlyjs(), "")
    assert "<script>alert" not in own and "</script>alert" not in own and "<img src=x" not in own
    found = Page(own)
    assert all(name in found.text for name in ("b\"&'<", "<img src=x>"))
    assert {name for name, _ in found.attributes if name.startswith("on")} == set()
    assert not [value for name, value in found.attributes if name in ("src", "href", "action")
                and not str(value).startswith("data:image/")]  # fmt: skip
    with opened(browser, folder / "report.html") as page:
        page.on("dialog", lambda dialog: pytest.fail(f"a script ran: {dialog.message}"))
        page.wait_for_function(DRAWN)
        legends = page.locator(".legend").all_text_contents()
        assert all(any(name in legend for legend in legends) for name in HOSTILE)
        shown = page.locator(".clips tbody button").all_inner_texts()
        assert any(name.startswith("val/<img src=x onerror=") for name in shown)
        for number in range(len(shown)):
            page.locator(".picker select").select_option(str(number))


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
    assert "folds kfold:3" in found.text and "Loss" not in found.text
    assert "a cross-validation keeps no members" in found.text
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

    assert "is not a run" in refused(tmp_path)
    unfinished = tmp_path / "run"
    unfinished.mkdir()
    (unfinished / "run.json").write_bytes((run / "run.json").read_bytes())
    assert "has no scores yet" in refused(unfinished)
    (unfinished / "scores-val.csv").write_bytes((run / "scores-val.csv").read_bytes())
    assert "member 0 of 2 is missing" in refused(unfinished)
    assert not (unfinished / "report.html").exists()


def part(name: str, *values: object) -> str:
    """What a macro of ``parts.html`` makes of ``values``."""
    return str(getattr(templates().get_template("parts.html").module, name)(*values))


def curve(figure: Mapping[str, Any], name: str) -> tuple[list[float], list[float]]:
    (found,) = [line for line in figure["data"] if line["name"] == name]
    return found["x"], found["y"]


def test_curves_go_where_the_values_are() -> None:
    members = [[Epoch(i, 1.0, 0.5, 1.0, value, value) for i, value in enumerate(line, 1)]
               for line in ([0.0, 0.5, 1.0], [1.0, 0.5, 0.0])]  # fmt: skip
    figure = learning(members, "accuracy")
    assert curve(figure, "validation") == ([1, 2, 3], [0.5, 0.5, 0.5])
    thin = [line["y"] for line in figure["data"] if line["name"] == "member 1"]
    assert thin == [[0.5, 0.5, 0.5], [1.0, 0.5, 0.0]]


def test_long_and_diverged_curves_stay_drawable() -> None:
    x, y = curve(
        learning([[Epoch(i, float(i), 0.0) for i in range(1, 1001)]], "loss"), "training, with dropout"
    )
    assert len(x) <= MOST_POINTS and x[-1] == 1000 and y == x
    diverged = learning([[Epoch(1, 1.0, 0.0), Epoch(2, float("nan"), 0.0)]], "loss")
    assert curve(diverged, "training, with dropout")[1] == [1.0, None]
    assert '"y":[1.0,null]' in part("figure", diverged, "Loss")
    assert len(learning([[Epoch(1, 1.0, 0.0)]], "loss")["data"]) == 1


def test_vectors_of_one_moment_are_weighed_together() -> None:
    given = AttentionOverTime(np.array([0.5, 0.5, 1.5, 1.5]), np.array([0.1, 0.2, 0.3, 0.4]))
    figure = attention_over_time({"audio": given}, 2.0, None, None)
    weights = figure["data"][0]
    assert weights["x"] == [0.5, 1.5] and weights["customdata"] == [0.3, 0.7] and weights["y"] == [0.6, 1.4]
    many = AttentionOverTime(np.arange(10_000.0), np.full(10_000, 1e-4))
    long = attention_over_time({"audio": many}, 10_000.0, None, None)["data"][0]
    assert len(long["x"]) == MOST_MOMENTS and {*long["y"]} == {1.0} and long["x"][0] == 12.0
    nothing = attention_over_time({"audio": AttentionOverTime(np.zeros(0), np.zeros(0))}, 2.0, None, None)
    assert nothing["layout"]["annotations"][0]["text"] == "no features of the sound are stored for this clip"


def test_points_are_told_apart_by_class_and_verdict() -> None:
    clips = tuple(("val", name) for name in "wxyz")
    values = np.array([[0.9, 0.1], [0.1, 0.9], [0.1, 0.9], [0.9, 0.1]])  # predicted a, b, b, a
    scores = Scores(clips, ("a", "b"), values, ("a", "a", "b", None))
    figure = neighbours(np.arange(8.0).reshape(4, 2), clips, scores)
    kinds = [(one["name"], one["marker"]["symbol"], one["x"]) for one in figure["data"]]
    assert kinds[:3] == [("a", "circle", [0.0]), ("a", "circle-open", [2.0]), ("b", "square", [4.0])]
    assert kinds[4][0] == "no true class known" and kinds[4][2] == [6.0]
    colours = {one["name"]: one["marker"]["color"] for one in figure["data"]}
    assert len({*colours.values()}) == 3


def test_the_most_wrong_and_the_surest_are_chosen() -> None:
    rng = np.random.default_rng(0)
    values = rng.dirichlet(np.ones(3), 200)
    truth = [CLASSES[i % 3] for i in range(200)]
    scores = Scores(tuple(("val", str(i)) for i in range(200)), CLASSES, values, tuple(truth))
    choices, wrong = select_clips(scores), Group("val", scores).wrong
    of_truth = values[np.arange(200), np.arange(200) % 3]
    missed = values.argmax(axis=1) != np.arange(200) % 3
    assert wrong == missed.sum() > WRONG
    worst = np.argsort(np.where(missed, of_truth, 2))[:WRONG]
    assert [int(choice.key[1]) for choice in choices[:WRONG]] == worst.tolist()
    sure = choices[WRONG:]
    assert 0 < len(sure) <= SURE and {choice.predicted for choice in sure} == {*CLASSES}
    best = max(of_truth[~missed])
    assert sure[0].score == sure[0].truth_score == best


def test_intervals_stand_on_the_bars() -> None:
    found = of_share(0, 8)
    assert found.low == 0 and found.high == pytest.approx(1.96**2 / (8 + 1.96**2), abs=1e-3)  # Wilson, p = 0
    text = part("bars", [("a", 1, 2, Interval(0.25, 0.75))])
    assert "--low:25.0%;--high:75.0%" in text and "95 % interval 25.0% to 75.0%" in text


def test_the_papers_stand_beside_their_own_clips_only() -> None:
    names = [name for name, count in AFEW_VALIDATION.items() for _ in range(count)]
    classes = tuple(AFEW_VALIDATION)
    scores = Scores(
        tuple(("val", str(i)) for i in range(383)), classes, np.full((383, 7), 1 / 7), tuple(names)
    )
    assert ("AM-FBP", 0.6417, "zhou2021 table IV") in published(scores)
    assert published(scores.take(range(382))) == ()


def test_a_class_without_clips_has_an_empty_row() -> None:
    found = Page(part("confusion", ("a", "b"), [[3, 1], [0, 0]]))
    assert found.rows[1:] == [["a", "75%3", "25%1"], ["b", "·", "·"]]


def test_templates_escape_every_value() -> None:
    table = part("table", ["a<b"], [['<i class="x">', "'&"]])
    assert "a&lt;b" in table and "&lt;i class=&#34;x&#34;&gt;" in table and "&#39;&amp;" in table
    figure = part("figure", {"data": ["</script><script>alert(1)"], "height": 1}, '" onclick="alert(1)')
    assert "alert(1)" in figure and "<script>alert" not in figure and '" onclick="' not in figure
    assert "&lt;b&gt;" in part("definitions", {"<b>": "<b>"})


FIGURES = 8  # reliability, a clip, factors, two planes, loss, accuracy; and one more of a clip once picked


@pytest.mark.parametrize(("size", "dark"), [(DESKTOP, False), (DESKTOP, True), (PHONE, False), (PHONE, True)])
def test_every_figure_is_drawn_and_clips_are_picked(
    report: str, run: Path, browser: Browser, size: tuple[int, int], dark: bool
) -> None:
    with opened(browser, run / "report.html", size, dark) as page:
        page.wait_for_function(DRAWN)
        assert page.locator(".js-plotly-plot .main-svg:first-child").count() == FIGURES - 1
        empty = (
            "[...document.querySelectorAll('.js-plotly-plot')].filter(e => !e.querySelector(MARKS)).length"
        )
        assert (
            page.evaluate(
                empty.replace("MARKS", "'.trace path.point, .trace path.js-line, .trace .point path'")
            )
            == 0
        )
        ink = page.evaluate("getComputedStyle(document.body).color")
        colours = (
            "[...new Set([...document.querySelectorAll('.xtick text')].map(e => getComputedStyle(e).fill))]"
        )
        assert page.evaluate(colours) == [ink]
        assert page.locator(".clip:visible").count() == 1
        rows = page.locator(".clips tbody tr")
        rows.nth(1).locator("button").click()
        name = rows.nth(1).locator("button").inner_text()
        assert page.locator(".clip:visible b").inner_text() == name
        assert page.locator(".clip:visible .strip img").first.evaluate("e => e.naturalWidth") > 0
        page.wait_for_function("document.querySelectorAll('.js-plotly-plot').length === " + str(FIGURES))
        page.locator(".picker select").select_option("0")
        assert page.locator("tr.picked").get_attribute("data-clip") == "0"
        header = page.locator(".clips thead button").nth(3)
        header.click()
        shares = [
            float(text.rstrip("%")) for text in page.locator(".clips tbody td:nth-child(4)").all_inner_texts()
        ]
        assert shares == sorted(shares) and len(shares) > 2


def test_it_prints_with_its_figures_in_black_on_white(report: str, run: Path, browser: Browser) -> None:
    with opened(browser, run / "report.html", dark=True) as page:
        page.wait_for_function(DRAWN)
        assert len(page.pdf()) > 50_000
        page.emulate_media(media="print")
        fill = page.locator(".xtick text").first.evaluate("e => getComputedStyle(e).fill")
        assert fill == "rgb(27, 31, 36)"


def test_without_scripts_tables_and_pictures_are_there(report: str, run: Path, browser: Browser) -> None:
    context = browser.new_context(java_script_enabled=False, offline=True)
    page = context.new_page()
    page.goto((run / "report.html").as_uri())
    assert page.locator("table.confusion").is_visible()
    assert page.locator(".clip").count() == page.locator(".clip:visible").count() > 1
    assert "needs JavaScript" in page.locator(".figure").first.inner_text()
    context.close()


def test_the_store_of_the_training_is_found_and_a_lost_one_is_told(run: Path, tmp_path: Path) -> None:
    store = fill(tmp_path / "own")
    folder = train(store, tmp_path / "run")
    assert "t-SNE of val" in page_of(folder, invoked("report", folder)).text
    found = page_of(folder, invoked("report", folder))
    assert "No pictures: the store has no path for it" in found.text
    store.rename(tmp_path / "elsewhere")
    result = invoked("report", folder)
    assert "note: run: No pictures of clips, attention or embeddings: the feature store" in result.stderr
    assert "the feature store was not found; name it with --store" in page_of(folder, result).text
    assert "t-SNE" in page_of(folder, invoked("report", folder, "--store", tmp_path / "elsewhere")).text
    shutil.rmtree(tmp_path / "elsewhere/shards")
    damaged = page_of(folder, invoked("report", folder, "--store", tmp_path / "elsewhere"))
    assert "No pictures of clips, attention or embeddings:" in damaged.text or "No attention" in damaged.text


def test_features_of_other_settings_are_not_attention_over_time(run: Path, tmp_path: Path) -> None:
    other = fill(tmp_path / "features")
    with FeatureStore(other) as store, store.writer() as writer:
        key = FeatureKey("dlib/none", {"size": 5})
        for row in store.rows:
            writer.add(
                row.clip, None, {key.stream: Outcome(key, arrays={"basic": np.zeros((3, 4), np.float32)})}
            )
    result = invoked("report", run, "--store", other, "--out", tmp_path / "report.html")
    assert "No attention or embeddings: " in result.stderr and "with settings other than" in result.stderr


def test_a_clip_that_is_gone_and_clips_of_no_class(tmp_path: Path) -> None:
    folder = train(fill(tmp_path / "features", clips=str(tmp_path / "gone.mp4")), tmp_path / "run")
    assert "No pictures: there is no such file" in page_of(folder, invoked("report", folder)).text
    for name in ("train", "val"):
        (folder / f"scores-{name}.csv").unlink()
    found = page_of(folder, invoked("report", folder))
    assert (
        "The true classes of these clips are not known" in found.text
        and "From clips whose class is not known" in found.text
    )


def test_single_streams_and_heads_without_attention(run: Path, tmp_path: Path) -> None:
    folder = train(run.parent / "features", tmp_path / "sound", "--fusion", "audio")
    found = page_of(folder, invoked("report", folder))
    assert "Adaption factors" not in found.text and "Attended streams side by side" in found.text
    assert "Embedding after fusion" not in found.text


def test_one_class_only(run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    scores = Scores.read(run / "scores-val.csv")
    scores.take([i for i, name in enumerate(scores.truth) if name == "Angry"]).write(
        folder / "scores-val.csv"
    )
    found = page_of(folder, invoked("report", folder))
    assert "3 clips are too few for t-SNE; it needs 5 or more" in found.text
    assert "predicting Angry for every clip has an accuracy of 100.0%" in found.text


def test_a_baseline_is_tested_against(run: Path, tmp_path: Path) -> None:
    scores = Scores.read(run / "scores-val.csv")
    always = np.tile([0.8, 0.1, 0.1], (9, 1))
    Scores(scores.clips, scores.classes, always, scores.truth).write(tmp_path / "always.csv")
    fuse("report", run, "--baseline", tmp_path / "always.csv", "--out", tmp_path / "report.html")
    found = Page((tmp_path / "report.html").read_text(encoding="utf-8"))
    right = np.array(scores.truth) == np.array(scores.predicted)
    assert ["baseline", "9", "33.3%", "33.3%"] in found.rows
    assert f"Accuracy {right.mean() - 1 / 3:+.1%} (95 % interval" in found.text
    assert "McNemar, exact" in found.text


def test_an_ensemble_shows_its_prior(run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "both"
    fuse("ensemble", run, "--prior", "train", "--temperature", "2", "--split", "val", "--out", folder)
    found = page_of(folder, invoked("report", folder, "--store", run.parent / "features"))
    assert "prior train: the square roots of the training labels' counts" in found.text
    assert "Angry 0.333, Happy 0.333, Sad 0.333" in found.text and "temperature 2" in found.text
    assert any(row[:2] == ["val", "9"] for row in found.rows)
    assert "an ensemble keeps no members" in found.text
    (folder / "ensemble.json").write_text("[]")
    result = CliRunner().invoke(main, ["report", str(folder)])
    assert result.exit_code == 2 and "is invalid" in result.output


@pytest.mark.slow
def test_ten_thousand_clips_stay_within_the_stated_size(tmp_path: Path, browser: Browser) -> None:
    store = fill(tmp_path / "features", counts={"train": 12, "val": 10_000})
    folder = train(store, tmp_path / "run", "--epochs", 1, "--fusion", "ag-fbp")
    result = invoked("report", folder)
    assert f"are of {MOST_CLIPS} of 10000 clips, evenly chosen" in result.stderr
    assert (folder / "report.html").stat().st_size < 6_000_000
    with opened(browser, folder / "report.html") as page:
        page.wait_for_function(DRAWN)
        assert page.locator(".clips tbody tr").count() <= WRONG + SURE


def page_of(folder: Path, result: Result) -> Page:
    assert result.exit_code == 0
    return Page((folder / "report.html").read_text(encoding="utf-8"))
