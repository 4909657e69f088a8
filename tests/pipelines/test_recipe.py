"""``avemo recipe``: what the files may say, comparisons on a store, and a paper of one's own."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from avemo.pipelines.cli.framework import InputError
from avemo.pipelines.cli.main import main
from avemo.pipelines.cli.recipe import known
from avemo.pipelines.fuse.settings import CrossValidationSettings
from avemo.pipelines.recipes.presets import presets
from avemo.pipelines.recipes.recipe import Recipe, load, names
from avemo.pipelines.recipes.run import plan

from .test_fuse_heads_cli import store as store

RUNNABLE = [name for name in names() if load(name).runs]
SMALL = ("batch=4", "hidden=4", "outputs=4", "learning_rate=1e-3")
QUICK = ("--epochs", 2, "--folds", "subject", "--device", "cpu", "--workers", 1,
         *(word for change in SMALL for word in ("--set", change)))  # fmt: skip
OWN = """
title = "Sound alone, and both"
source = "me, table 1"

[cv]
preset = "zhou2021"
folds = "split"

[runs]
audio = { fusion = "audio", paper = 0.5 }
"both, concatenated" = { fusion = "concat" }

[compare]
baseline = "audio"
"""


def avemo(*words: object) -> Result:
    result = CliRunner().invoke(main, [str(word) for word in words])
    assert "Traceback" not in result.output and not isinstance(result.exception, AssertionError)
    return result


def rows_of(out: Path) -> dict[str, dict[str, str]]:
    with (out / "results.csv").open(newline="") as file:
        return {row["run"]: row for row in csv.DictReader(file)}


@pytest.mark.parametrize("name", RUNNABLE)
def test_every_setting_of_a_recipe_acts(name: str) -> None:
    recipe = known(load(name))
    planned = plan(recipe, {}, ["a", "b"], Path("features"), Path("out"))
    assert [*planned.runs] == [*recipe.runs] and not planned.left_out
    assert len({settings.out for settings in planned.runs.values()}) == len(recipe.runs)
    assert "{" not in "".join(settings.visual for settings in planned.runs.values())
    assert recipe.title and recipe.source and recipe.paper


def printed(recipe: Recipe) -> Iterator[float]:
    yield from recipe.papers.values()
    yield from (each.accuracy for group in recipe.published.values() for each in group)
    yield from [recipe.ensemble["paper"]] if recipe.ensemble else []


@pytest.mark.parametrize("name", RUNNABLE)
def test_the_papers_print_these_figures(name: str, shared: Path) -> None:
    texts = "".join(path.read_text() for path in (shared / "papers").glob("*.txt"))
    for figure in printed(load(name)):
        forms = {f"{100 * figure:{form}}%" for form in (".0f", ".1f", ".2f", ".3f")}
        assert any(f"\t{form}" in texts or f" {form}" in texts for form in forms), figure


def test_recipes_are_listed_and_shown() -> None:
    found = json.loads(avemo("recipe", "list", "--json").stdout)
    assert [each["recipe"] for each in found] == names()
    assert presets() == ["zhou2019", "zhou2021"]
    assert avemo("recipe", "show", "zhou2019-attention").stdout.startswith('title = "Attention over')
    wrong = avemo("recipe", "show", "zhou2019-atention")
    assert wrong.exit_code == 2 and "did you mean zhou2019-attention?" in wrong.output
    network = avemo("recipe", "run", "zhou2021", "features", "--out", "out")
    assert network.exit_code == 2 and "--preset zhou2021; recipes that train it: zhou2021-" in network.output


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('titel = "x"', "has no 'titel'; did you mean title?"),
        ("title = 3", "title = 3: expected a text in quotes"),
        ("[cv]\nepochs = 3", "expected runs, and either [train] or [cv]"),
        ("[cv]\n[train]\n[runs.a]", "expected runs, and either [train] or [cv]"),
        ("title = 'x'", "has no runs"),
        ("[cv]\n[runs]\na = 3", "runs.a = 3: expected a table"),
        ("[cv]\n[runs.a]\npaper = 61.1", "61.1 is not an accuracy; expected a number from 0 to 1"),
        ("[cv]\n[runs.a]\n[compare]\nbaseline = 'b'", "baseline has no 'b'; expected one of a"),
        ("[train]\n[runs.a]\n[compare]\nbaseline = 'a'", "[compare] tests cross-validations"),
        ("[cv]\n[runs.a]\n[ensemble]\nprior = 'none'", "[ensemble] is made of trained runs"),
        (
            "[cv]\n[runs.a]\n[[published]]\nrun = 'a'\nrows = [[1]]",
            "expected rows of DATASET, NAME, ACCURACY",
        ),
        ("[cv]\n[runs.a]\n[[published]]\nrum = 'a'", "has no 'rum'; did you mean run?"),
        ("[[network]]\naudio = 'logmel'", 'heads = "None": expected a list of texts'),
        ("base = 'emotiw2018'", "no recipe 'emotiw2018'; did you mean emotiw2019?"),
        ("base = 'priyasad2019'", "its base, priyasad2019, has a base itself"),
        ("title = ", "is not TOML"),
        ("[cv]\nepoch = 3\n[runs.a]", "[cv]: cv has no option 'epoch'; did you mean epochs?"),
        ("[cv]\n[runs.a]\nepochs = '3'", 'a: epochs = "3": expected a whole number'),
        ("[cv]\nepochs = 0\n[runs.a]", "epochs = 0: 0 is not in the range"),
        ("[extract]\ntta = 'none'\n[cv]\n[runs.a]", 'tta = "none": expected a list of texts'),
        (
            "[train]\n[runs.a]\n[ensemble]\nprior = 'x'",
            "prior = 'x': expected one of emotiw2019, train, none",
        ),
    ],
)
def test_what_cannot_be_used_is_refused(text: str, expected: str, tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(text)
    with pytest.raises(InputError) as refused:
        known(load(str(file)))
    assert expected in refused.value.message and "\n" not in refused.value.message


def test_a_base_is_changed_table_by_table() -> None:
    small, paper = load("interspeech2019"), load("priyasad2019")
    assert (paper.runs, paper.published, paper.confusion) == (small.runs, small.published, True)
    assert paper.shared == {**small.shared, "set": {"lstm": 4096}}
    assert paper.extract["tta"] == ["none"] and paper.extract["segment_backbones"] == ["vgg19@imagenet"]


def test_the_features_of_a_run_are_of_the_backbones_that_are_named() -> None:
    def visual(*backbones: str, **given: str) -> dict[str, str]:
        recipe = known(load("zhou2019-features"))
        planned = plan(recipe, given, backbones, Path("features"), Path("out"))
        return {name: settings.visual for name, settings in planned.runs.items()}

    assert visual("ir50@a", "ir50@r")["f-ar-mean"] == "f-ar-mean:ir50@a+ir50@r"
    assert visual("ir50@a", "ir50@r")["basic, RAF-DB"] == "basic:ir50@r"
    assert [*visual("dlib")] == ["basic", "f-mean", "f-meanstd", "f-meanstd-2", "f-normfft"]
    assert visual("dlib")["f-mean"] == "f-mean:dlib"
    assert visual()["f-mean"] == "f-mean"  # of a store that has one


def test_what_is_given_goes_before_the_recipe() -> None:
    recipe = known(load("zhou2021-family"))
    given = {"preset": None, "audio": "logmel-stats", "epochs": 7}
    settings = plan(recipe, given, [], Path("features"), Path("out")).runs["m-fbp, beside the whole clip"]
    assert settings == CrossValidationSettings(
        Path("features"),
        visual="basic",
        audio="logmel-stats",
        fusion="m-fbp",
        head={"whole": True},
        epochs=7,
        folds="split",
        out=Path("out/m-fbp-beside-the-whole-clip"),
    )


def test_a_comparison_on_a_store(store: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    call = ("recipe", "run", "zhou2019-attention", store, "--out", out, "--members", 2, *QUICK)
    result = avemo(*call)
    assert result.exit_code == 0, result.output
    assert "run 9 of 9: transformer transformer" in result.output
    written = (out / "results.md").read_text()
    rows = rows_of(out)
    assert len(rows) == 9 and rows["self self"]["difference"] == ""
    best = rows["transformer transformer"]
    assert best["paper"] == "0.611" and 0 <= float(best["one_tailed_p"]) <= 1
    assert float(best["difference"]) == pytest.approx(
        float(best["accuracy_one_member"]) - float(rows["self self"]["accuracy_one_member"]), abs=1e-6
    )
    assert "matched pair against self self" in written and "| paper % |" in written
    again = avemo(*call)
    assert again.output.count("0 of 6 trainings to do") == 9
    assert (out / "results.md").read_text() == written
    other = avemo("recipe", "run", "zhou2021-family", store, "--out", out, "--set", "preset=none", *QUICK)
    assert other.exit_code == 2 and "already exists" in other.output


def test_a_run_whose_feature_is_not_held_is_left_out_before_anything_is_trained(
    store: Path, tmp_path: Path
) -> None:
    """The store has no 18 views of a face; all that reads them cannot be made."""
    result = avemo("recipe", "run", "zhou2019-features", store, "--out", tmp_path / "out", *QUICK)
    assert result.exit_code == 0, result.output
    assert "left out: f-meanstd-2: " in result.stderr
    assert result.stderr.index("left out") < result.stderr.index("epoch")
    written = (tmp_path / "out/results.md").read_text()
    assert "Left out: f-meanstd-2: " in written and "| basic | " in written
    wrong = avemo("recipe", "run", "zhou2021-family", store, "--out", tmp_path / "no", *QUICK[:-6],
                  "--set", "preset=none", "--set", "grid=factors=2|4")  # fmt: skip
    assert wrong.exit_code == 2 and "the fusion m-fbp does not pool the whole clip" in wrong.output
    assert "trainings to do" not in wrong.output


def test_an_option_that_cannot_act_is_refused(store: Path, tmp_path: Path) -> None:
    def why(name: str, *words: object) -> str:
        result = avemo("recipe", "run", name, store, "--out", tmp_path / "out", *words)
        assert result.exit_code == 2 and not (tmp_path / "out").exists(), result.output
        return " ".join(result.output.split())

    family = "zhou2021-family"
    assert "--set fusion would do nothing: each run has its own" in why(family, "--set", "fusion=concat")
    assert "--set lstm would do nothing" in why(family, "--set", "lstm=4")
    assert "--max-frames would do nothing: DATA is a store" in why(family, "--max-frames", 3)
    assert "--prior would do nothing: zhou2021-family makes no ensemble" in why(family, "--prior", "train")
    assert "--fit-on would do nothing" in why(family, "--fit-on", "train")
    assert "--backbone would do nothing" in why("zhou2021-encoders", "--backbone", "dlib")
    assert "use other --folds" in why(family)  # these clips have no splits


def test_a_paper_of_ones_own(store: Path, tmp_path: Path) -> None:
    file, out = tmp_path / "mine.toml", tmp_path / "out"
    file.write_text(OWN)
    result = avemo("recipe", "run", file, store, "--out", out, "--epochs", 1, "--folds", "subject",
                   "--set", "batch=4", "--device", "cpu", "--workers", 1, "--json")  # fmt: skip
    found = json.loads(result.stdout)
    assert found["recipe"] == "mine" and [each["run"] for each in found["results"]] == [
        "audio",
        "both, concatenated",
    ]
    assert found["results"][0]["paper"] == 0.5
    card = json.loads((out / "runs/both-concatenated/run.json").read_text())
    assert card["settings"]["head"]["audio_encoder"]["name"] == "1d-abfcn"
    assert (out / "mine.toml").read_text() == OWN
