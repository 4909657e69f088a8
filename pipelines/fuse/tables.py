"""``avemo-fuse tables``: the papers' comparisons on a store of one's own, each row cross-validated."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ...fusion.files import write_csv, write_text
from ..cli.console import Console, tell
from ..cli.framework import command, given, group, is_given, keep_result, with_options_of
from ..cli.fuse.cv import cv
from ..cli.fuse.options import read, refuse
from ..cli.outputs import refuse_existing
from ..cli.table import aligned, markdown, records
from ..stores import open_store
from .settings import CrossValidationSettings

if TYPE_CHECKING:
    from ...fusion.evaluation.significance import MatchedPair
    from ...fusion.training.cards import Card
    from .cv_results import CrossValidated

Rows = Mapping[str, CrossValidationSettings]
Options = Mapping[str, Any]
Reasons = Mapping[str, Mapping[str, str]]
MOST_FOLDS = 5


@dataclass(frozen=True)
class Recipe:
    """One of the papers' tables.

    Attributes:
        title: what it compares, and which table that is.
        rows: name of each system → the options in which it differs.
        papers: presets in which all rows are a paper's.
        baseline: the row that the others are tested against.
        across: where the paper's table has columns: their names, and of each row what is left of its name.
    """

    title: str
    rows: Mapping[str, Options]
    baseline: str
    papers: Sequence[str] = field(default=())
    across: Sequence[str] = field(default=())


ATTENTIONS = ("self", "relation", "transformer")
ENHANCED = ("f-mean", "f-meanstd", "f-meanstd-2", "f-normfft")
ENCODER = {"fusion": "audio", "audio": "spectrogram"}

RECIPES = {
    "attention": Recipe(
        "Attention over faces (down) and sound (across), with FBP (zhou2019, table 2)",
        {
            f"{visual} {audio}": {"fusion": "fbp", "visual_attention": visual, "audio_attention": audio}
            for visual in ATTENTIONS
            for audio in ATTENTIONS
        },
        "self self",
        ("zhou2019",),
        ATTENTIONS,
    ),
    "fusion": Recipe(
        "Single streams and ways to fuse them (zhou2019 §3.3 beside zhou2021)",
        {name: {"fusion": name} for name in ("concat", "audio", "faces", "decision", "fbp", "g-fbp")},
        "concat",
    ),
    "systems": Recipe(
        "Single streams and ways to fuse them (zhou2021, tables II and VI)",
        {name: {"fusion": name} for name in ("concat", "audio", "faces", "decision", "g-fbp", "am-fbp")},
        "concat",
        ("zhou2021",),
    ),
    "features": Recipe(
        "Feature enhancement, with FBP (zhou2019, table 3)",
        {name: {"fusion": "fbp", "visual": name} for name in ("basic", *ENHANCED)},
        "basic",
        ("zhou2019",),
    ),
    "family": Recipe(
        "Factorized bilinear pooling and what is made of it (zhou2021, table IV)",
        {
            **{name: {"fusion": name} for name in ("g-fbp", "ag-fbp", "m-fbp", "am-fbp")},
            "ag-fbp, divided by its length": {"fusion": "ag-fbp", "ag_norm": True},
            "m-fbp, beside the whole clip": {"fusion": "m-fbp", "whole": True},
        },
        "g-fbp",
        ("zhou2021",),
    ),
    "encoders": Recipe(
        "Audio networks trained on spectrograms, sound alone (zhou2021, table I)",
        {
            "1d-abfcn (no LRN)": {**ENCODER, "audio_encoder": "1d-abfcn", "lrn": False},
            "1d-abfcn": {**ENCODER, "audio_encoder": "1d-abfcn", "lrn": True},
            "2d-abfcn": {**ENCODER, "audio_encoder": "2d-abfcn"},
        },
        "1d-abfcn (no LRN)",
        ("zhou2021",),
    ),
}

EXAMPLES = """
\b
Examples:
  avemo-fuse tables attention --members 10 --out tables
  avemo-fuse tables family fusion --visual f-mean --members 10
  avemo-fuse tables encoders --epochs 40 --members 3
  avemo-fuse tables systems family --preset zhou2021 --members 10
  avemo-fuse tables        all of them, or with --preset all of that paper

\b
Tables:
{}

Each row is a run of `avemo-fuse cv` in DIR/runs, and one that two tables share is trained once. DIR gets
NAME.md and NAME.csv: one member (mean ± standard deviation over seeds), all members averaged, and the
matched-pair test on the errors of one member, averaged over all, against the row marked as the baseline.
""".format("\n".join(f"  {name:<10}{recipe.title}" for name, recipe in RECIPES.items()))

HEADER = (
    "system",
    "accuracy",
    "UAR",
    "averaged",
    "UAR averaged",
    "against baseline",
    "one-tailed p",
    "two-tailed p",
)


@with_options_of(cv, without=("out",))
@command("tables", epilog=EXAMPLES)
@click.argument("names", nargs=-1, type=click.Choice(list(RECIPES)), metavar="[NAME]...")
@group(
    "Output",
    click.option("--out", type=click.Path(path_type=Path), default="tables", show_default=True,
                 metavar="DIR", help="Folder for the tables and their runs."),
)  # fmt: skip
def tables(names: Sequence[str], out: Path, **options: Any) -> None:
    """Make the papers' tables of comparisons on the clips of a store, by cross-validation.

    All rows share the options; what a row is about is its own, but for the backbone: --visual
    f-mean:ferresnet makes all its features of ferresnet. Without --preset the sound of all rows is what
    --audio says, which is not the papers'. An option acts in the rows whose heads have it. Every row is
    prepared before the first is trained; one whose feature the store does not hold is left out. Without
    --folds, k folds are made of clips that do not all name their subject. A table that was stopped goes on
    with the same command.
    """
    shared, preset = read(CrossValidationSettings, {**options, "out": out})
    wanted = names or [name for name, recipe in RECIPES.items() if not preset or preset in recipe.papers]
    for name in wanted:
        if preset and preset not in RECIPES[name].papers:
            able = ", ".join(other for other, recipe in RECIPES.items() if preset in recipe.papers)
            raise click.UsageError(f"the table {name} is not all of {preset}'s; those that are: {able}")
    files = [out / f"{name}.{kind}" for name in wanted for kind in ("md", "csv")]
    refuse_existing(files, shared.overwrite, unless=out / "runs")
    chosen = {name: RECIPES[name] for name in wanted}
    shared, note = with_folds(shared)
    own = [row for recipe in chosen.values() for row in recipe.rows.values()]
    rows = [{**own_options(shared, row), "out": folder_of(out, preset, row)} for row in own]
    from .acting import for_rows

    made, idle = for_rows(shared, given() | {*shared.head}, preset, rows, "row")
    refuse(idle, shared.head)
    ready = iter(made)
    every = {name: dict(zip(recipe.rows, ready)) for name, recipe in chosen.items()}  # noqa: B905 (takes its own)
    lacking = see(chosen, every)
    for name, recipe in chosen.items():
        make(name, recipe, every[name], lacking[name], out, note)


def with_folds(settings: CrossValidationSettings) -> tuple[CrossValidationSettings, str]:
    """The settings with folds that the clips allow, and what to say of that: k folds where ``--folds`` is not
    given and not all clips name a subject."""
    if is_given("folds"):
        return settings, ""
    with open_store(settings.store) as store:
        clips = [row.clip for row in store.rows if row.clip.label is not None]
    unnamed = sum(not clip.subject for clip in clips)
    fewest = min(Counter(clip.label for clip in clips).values(), default=0)
    if not unnamed or fewest < 2:
        return settings, ""
    folds = f"kfold:{min(MOST_FOLDS, fewest)}"
    note = f"Folds: {folds}, since {unnamed} of {len(clips)} clips name no subject to leave out."
    click.echo(note)
    return settings.changed(folds=folds), note


def see(recipes: Mapping[str, Recipe], every: Mapping[str, Rows]) -> Reasons:
    """Prepare each row of each table, so that nothing stops later what was begun.

    Returns:
        Of each table, the rows that cannot be made, and why.

    Raises:
        StoreError, FusionError: an option cannot be used, or ``out`` holds another run.
    """
    from ...fusion.errors import NotHeld
    from ...fusion.training.cards import claim
    from ...fusion.training.crossvalidation import FILES
    from .cv import arrange

    cards: dict[Path, tuple[Card, bool]] = {}
    reasons: dict[str, dict[str, str]] = {name: {} for name in recipes}
    for name, recipe in recipes.items():
        for row in recipe.rows:
            settings = every[name][row]
            try:
                cards[settings.out] = arrange(settings).card, settings.overwrite
            except NotHeld as error:
                reasons[name][row] = str(error)
                click.echo(f"left out of {name}: {row}: {error}", err=True)
    for folder, (card, overwrite) in cards.items():
        claim(folder, card, overwrite, FILES)
    return reasons


def make(name: str, recipe: Recipe, every: Rows, lacking: Mapping[str, str], out: Path, note: str) -> None:
    """Train a table's rows and write it; nothing where its baseline is lacking."""
    if recipe.baseline in lacking:
        click.echo(f"\nno table {name}: its baseline, {recipe.baseline}, cannot be made here", err=True)
        return
    from .cv import cross_validate
    from .cv_results import write

    made = [row for row in recipe.rows if row not in lacking]
    outcomes = {}
    for number, row in enumerate(made, 1):
        click.echo(f"\n== {name}, {number} of {len(made)}: {row}")
        settings = every[row].changed(overwrite=False)  # done when it was claimed
        outcomes[row] = cross_validate(settings, Console())
        write(outcomes[row], settings.out, None)
    rows = [row_of(row, outcomes[row], outcomes[recipe.baseline]) for row in made]
    notes = [note, *(f"Not made: {row}: {why}." for row, why in lacking.items())]
    told = " ".join([footnote(outcomes[recipe.baseline], recipe), *filter(None, notes)])
    parts = [f"# {recipe.title}", markdown(HEADER, rows), told]
    if recipe.across and not lacking:
        parts.insert(1, markdown(["accuracy", *recipe.across], across(recipe, outcomes)))
    write_text(out / f"{name}.md", "\n\n".join(parts) + "\n")
    write_csv(out / f"{name}.csv", HEADER, rows)
    keep_result(tables={name: records(HEADER, rows)}, left_out={name: dict(lacking)})
    click.echo(f"\n{recipe.title}\n{aligned(HEADER, rows)}\n{parts[-1]}")
    tell([("wrote", f"{out / name}.md and .csv")])


def own_options(settings: CrossValidationSettings, own: Options) -> dict[str, Any]:
    """A row's own options; its feature is of the backbone that ``--visual FEATURE:BACKBONE`` names."""
    _, colon, backbone = settings.visual.partition(":")
    features = {"visual": f"{own['visual']}{colon}{backbone}"} if "visual" in own else {}
    return {**own, **features}


def folder_of(out: Path, preset: str | None, own: Options) -> Path:
    """Where the run of a row goes."""
    return out / "runs" / "-".join(filter(None, (preset, slug(own))))


def slug(own: Options) -> str:
    """A folder for the options of a row: ``fbp-self-relation``."""
    words = [str(value) if not isinstance(value, bool) else f"{name}-{value}" for name, value in own.items()]
    return re.sub(r"[^\w.-]+", "-", "-".join(words).lower())


def row_of(name: str, outcome: CrossValidated, baseline: CrossValidated) -> list[object]:
    """As under :data:`HEADER`."""
    from ...fusion.evaluation.metrics import summary

    found = [summary(scores) for scores in outcome.members]
    whole = summary(outcome.mean)
    spread = [_spread([getattr(each, figure) for each in found]) for figure in ("accuracy", "uar")]
    cells: list[object] = [name, *spread, whole.accuracy, whole.uar]
    if outcome is baseline:
        return [*cells, "baseline", None, None]
    test = tested(baseline, outcome)
    return [*cells, f"{test.difference:+.3f}", test.one_tailed, test.two_tailed]


def tested(baseline: CrossValidated, outcome: CrossValidated) -> MatchedPair:
    """The matched-pair test on the share of members that err on each clip."""
    from ...fusion.evaluation.comparison import errors, match
    from ...fusion.evaluation.significance import matched_pair

    known = match(baseline.mean, outcome.mean).first
    return matched_pair(errors(baseline.members, known), errors(outcome.members, known))


def across(recipe: Recipe, outcomes: Mapping[str, CrossValidated]) -> list[list[object]]:
    """Mean accuracies in the paper's own shape."""
    from ...fusion.evaluation.metrics import summary

    def mean(outcome: CrossValidated) -> float:
        return sum(summary(scores).accuracy for scores in outcome.members) / len(outcome.members)

    names = dict.fromkeys(row.removesuffix(f" {recipe.across[0]}") for row in recipe.rows if row.endswith(
        f" {recipe.across[0]}"))  # fmt: skip
    return [[name, *(mean(outcomes[f"{name} {column}"]) for column in recipe.across)] for name in names]


def footnote(outcome: CrossValidated, recipe: Recipe) -> str:
    """How the figures were made."""
    members, clips = len(outcome.members), len(outcome.mean.labelled.clips)
    marks = outcome.mean.marks_cell
    return (
        f"{clips} held-out clips of {len(outcome.design.folds)} folds, {members} members. Accuracy and UAR: "
        f"one member, mean ± standard deviation over seeds; averaged: the scores of all {members}. Tests: "
        f"matched pair against {recipe.baseline}, on the share of members that err on each clip."
        + (f" {marks.capitalize()}." if marks else "")
    )


def _spread(values: Sequence[float]) -> str:
    from statistics import fmean, stdev

    return f"{fmean(values):.3f}" + (f" ± {stdev(values):.3f}" if len(values) > 1 else "")
