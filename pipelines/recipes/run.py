"""Run a recipe on a store: train or cross-validate each of its runs, and collect the results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...fusion.errors import NotHeld
from ...fusion.evaluation.calibration import temperature, tempered
from ...fusion.evaluation.ensemble import average
from ...fusion.evaluation.priors import reweight
from ...fusion.training import cards
from ...fusion.training.crossvalidation import FILES
from ..cli.framework import InputError
from ..fuse import cv, train
from ..fuse.acting import for_rows
from ..fuse.cv_results import write as write_folds
from ..fuse.notes import demo_note
from ..fuse.priors import choose
from ..fuse.settings import CrossValidationSettings, TrainSettings
from .recipe import FIRST, SECOND, Recipe
from .results import Line, slug

if TYPE_CHECKING:
    from ...fusion.evaluation.priors import Prior
    from ...fusion.evaluation.scores import Scores
    from ..fuse.reporter import Reporter

RunSettings = TrainSettings | CrossValidationSettings
KINDS: dict[str, type[RunSettings]] = {"train": TrainSettings, "cv": CrossValidationSettings}


@dataclass(frozen=True)
class Planned:
    """The settings of each run; runs left out → reason; and given settings that act in none → reason."""

    runs: Mapping[str, RunSettings]
    left_out: Mapping[str, str]
    idle: Mapping[str, str]


@dataclass(frozen=True, eq=False)
class Done:
    """A finished run.

    Attributes:
        path: its folder.
        members: each member's scores of the held-out or validation clips; empty without such clips.
        mean: mean of the members, calibrated as the run is.
        features: name of each stream's feature.
        demo, note: remarks to show beside its figures.
    """

    path: Path
    members: Sequence[Scores]
    mean: Scores | None
    features: Mapping[str, str]
    demo: str | None
    note: str = ""


def plan(
    recipe: Recipe, given: Mapping[str, Any], backbones: Sequence[str], store: Path, out: Path, **machine: Any
) -> Planned:
    """Return the settings of each run.

    Args:
        recipe: recipe to run.
        given: settings that override those shared by the runs; None removes one.
        backbones: labels of the face networks in the store; empty to take what it has.
        store, out: store to read, and folder of the runs' folders.
        machine: settings that change no result.

    Raises:
        InputError: a setting of the recipe does nothing in any run.
        FusionError: there is no such head or attention.
    """
    shared = {name: value for name, value in {**recipe.shared, **given}.items() if value is not None}
    preset = shared.pop("preset", None)
    rows = {name: dict(own) for name, own in recipe.runs.items()}
    left_out = {}
    for name, own in {"": shared, **rows}.items():
        text = str(own.get("visual", ""))
        if SECOND in text and len(backbones) < 2:
            left_out[name] = "it reads a second backbone; give --backbone twice"
        elif FIRST in text or SECOND in text:
            own["visual"] = _named(text, backbones)
    rows = {name: own for name, own in rows.items() if name not in left_out}
    base = KINDS[recipe.kind]().changed(store=store, **machine, **shared)
    folders = [out / slug(name) for name in rows]
    placed = [{**row, "out": folder} for row, folder in zip(rows.values(), folders, strict=True)]
    made, idle = for_rows(base, {*shared}, preset, placed, "run")
    for name in recipe.shared:
        if name in idle and name not in given:
            raise InputError(f"{recipe.name}: {name} would do nothing: {idle[name]}")
    runs = dict(zip(rows, made, strict=True))
    return Planned(runs, left_out, {name: why for name, why in idle.items() if name in given})


def _named(text: str, backbones: Sequence[str]) -> str:
    """Fill the backbones' labels into the name of a feature; drop the backbones if no labels are given."""
    if not backbones:
        return text.partition(":")[0]
    for letter, label in zip((FIRST, SECOND), backbones, strict=False):
        text = text.replace(letter, label)
    return text


def prepare(settings: RunSettings, reporter: Reporter) -> None:
    """Check that a run can be done, and claim its folder; train nothing yet.

    Raises:
        StoreError: the store cannot be read.
        NotHeld: it does not hold a feature.
        FusionError: the settings are invalid, or the folder holds another run.
    """
    if isinstance(settings, TrainSettings):
        train.begin(settings, reporter)
    else:
        cards.claim(settings.out, cv.arrange(settings).card, settings.overwrite, FILES)


def prepared(planned: Planned, reporter: Reporter) -> Planned:
    """Prepare the runs; leave out those whose features the store lacks. Raises as :func:`prepare`."""
    left_out, runs = dict(planned.left_out), {}
    for name, settings in planned.runs.items():
        try:
            prepare(settings, reporter)
            runs[name] = replace(settings, overwrite=False)  # done already
        except NotHeld as error:
            left_out[name] = str(error)
    return Planned(runs, left_out, planned.idle)


def do(settings: RunSettings, reporter: Reporter) -> Done:
    """Train the members that a run lacks, and return its scores."""
    if isinstance(settings, TrainSettings):
        done = train.train(settings, reporter)
        begun = done.begun
        every = [*done.members, begun.run.mean(done.members)]
        *watched, mean = [scores.select("val").labelled.marked(*begun.run.marks) for scores in every]
        names = {stream: feature.name for stream, feature in begun.prepared.features.items()}
        demo = demo_note(begun.prepared.rows)
        if not len(begun.watched):
            return Done(settings.out, (), None, names, demo)
        return Done(settings.out, watched, mean, names, demo)
    outcome = cv.cross_validate(settings, reporter)
    demo = demo_note(outcome.rows)
    write_folds(outcome, settings.out, demo)
    read = cards.read(settings.out).settings["features"]
    names = {stream: str(feature["name"]) for stream, feature in read.items()}
    note = f"Held-out clips, folds by {settings.folds}: {len(outcome.design.folds)}."
    return Done(settings.out, outcome.members, outcome.mean, names, demo, note)


def lines_of(
    recipe: Recipe, done: Mapping[str, Done], prior: str, dataset: str
) -> tuple[list[Line], list[str]]:
    """Return the lines of the results, and the notes to show beside them.

    Args:
        recipe: recipe that was run.
        done: its runs.
        prior: prior of the ensemble, if the recipe has one.
        dataset: name of the data set; published figures on it are shown, or all if there are none.
    """
    baseline = done[recipe.baseline].members if recipe.baseline else None
    lines = []
    for name, run in done.items():
        others = recipe.published.get(name, ())
        same = [each for each in others if each.dataset == dataset] or others
        lines += [Line(f"{name}: {each.name}, {each.dataset}", paper=each.accuracy) for each in same]
        lines.append(Line(name, run.members, recipe.papers.get(name), baseline))
    notes = [*dict.fromkeys(filter(None, (run.note for run in done.values())))]
    members = max(len(run.members) for run in done.values())
    if members > 1:
        notes.append(
            f"Accuracy and UAR: {members} members averaged; one member: mean ± standard deviation over seeds."
        )
    if recipe.baseline:
        notes.append(
            f"Tests: matched pair against {recipe.baseline}, on the share of members that err on each clip."
        )
    if recipe.ensemble is not None:
        more, weights = _ensemble(recipe, done, prior)
        lines += more
        notes += [f"Re-weighted by {weights.note}."] if weights else []
    return lines, notes


def _ensemble(recipe: Recipe, done: Mapping[str, Done], source: str) -> tuple[list[Line], Prior | None]:
    """Average the runs; with a prior, also calibrate and re-weight the mean."""
    first = next(iter(done.values()))
    prior = choose(source, cards.read(first.path).facts["train_counts"])
    name = f"mean of these {len(done)}"
    paper = recipe.ensemble.get("paper") if recipe.ensemble and len(done) == len(recipe.runs) else None
    means = [run.mean for run in done.values() if run.mean]
    if not means:
        return [Line(name, paper=paper)], prior
    mean = average(means)
    if prior is None:
        return [Line(name, [mean], paper)], prior
    weighted = reweight(tempered(mean, temperature(mean)), prior.weights)
    return [Line(name, [mean]), Line(f"{name}, re-weighted", [weighted], paper)], prior
