"""``avemo-fuse train``: an ensemble of heads on a store of features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..cli.framework import command, group, json_result, keep_result, refuse_idle
from ..cli.options import fit_on_option
from ..cli.settings_file import config_options
from ..cli.table import aligned, records
from ..recipes.presets import with_preset
from ..stores import open_store
from .acting import idle
from .leaks import TOLERATED, allow_duplicates, allow_same_subjects, check
from .options import (
    FEATURES_HELP,
    Prepared,
    demo_note,
    describe,
    epochs_bar,
    inner_folds,
    prepare,
    tell,
    training_options,
    unscored_note,
    with_faces,
)

if TYPE_CHECKING:
    import numpy as np

    from ...fusion.evaluation.metrics import Summary
    from ...fusion.evaluation.scores import Scores
    from ...fusion.training.runs import Run

EXAMPLES = (
    """
\b
Examples:
  avemo-fuse train --fusion fbp
  avemo-fuse train --members 5 --visual f-meanstd-2 --out runs/wide
  avemo-fuse train --visual f-ar-mean:ir50@affectnet+ir50@rafdb --attention relation
  avemo-fuse train --fusion audio --audio logmel-stats --out runs/sound
  avemo-fuse train --fusion am-fbp --grid "lambda_a=0:1:0.1, seed=0:4" --out runs/lambda
  avemo-fuse train --grid "lr=1e-4|3e-4|1e-3, dropout=0.3|0.6" --choose halving --members 5 --out runs/best
  avemo-fuse train --preset zhou2021 --fusion am-fbp --out runs/zhou2021
  avemo-fuse train --fit-on train+val --members 4 --out runs/submission
"""
    + FEATURES_HELP
)


@command("train", epilog=EXAMPLES)
@training_options
@group("Training", fit_on_option)
@allow_same_subjects
@allow_duplicates
@group(
    "Selection",
    click.option(
        "--choose",
        type=click.Choice(["all", "best", "halving"]),
        default="all",
        show_default=True,
        help="Points of --grid to train: all; or the best on inner folds of the training clips, of whole "
        "subjects if all are named. halving drops bad points early.",
    ),
)
@group(
    "Output",
    click.option("--out", type=click.Path(path_type=Path), default="runs/default", show_default=True,
                 metavar="DIR", help="Folder of the run: models, history, scores."),
)  # fmt: skip
@json_result
@config_options
def train(out: Path, fit_on: str, **options: Any) -> None:
    """Train an ensemble of heads, and score every clip of the store with it.

    A run that was stopped goes on with the same command; more --members add to those that are there. The
    last epoch is the model: validation clips are watched, and choose nothing.
    """
    options = with_preset(options)
    refuse_idle(idle(options))
    run, prepared, fit, watch = begin(out, fit_on, options)
    validated = f"{len(watch)} validate" if len(watch) else "none to validate: `avemo-fuse cv` can"
    tell([*describe(prepared), ("fitted", f"{len(fit)} clips; {validated}"), ("run", state(run))])
    if run.undecided:
        choose(run, prepared, fit, options)
    members, files = fill(run, prepared, fit, watch, options["workers"], options["stacked"])
    if len(watch):
        report(members, prepared, "val", run)
    finish(run, prepared, files)


def begin(out: Path, fit_on: str, options: Mapping[str, Any]) -> tuple[Run, Prepared, np.ndarray, np.ndarray]:
    """The run that the options ask for, new or to be gone on with; the clips to fit and to watch (indices).

    Raises:
        StoreError: the store cannot be read.
        FusionError: options that cannot be used, a subject or a recording is fitted and watched, or ``out``
            holds another run.
    """
    from ...fusion.features.corpus import fitted_and_watched
    from ...fusion.training.folds import Fold
    from ...fusion.training.runs import Run

    with open_store(options["store"]) as store:
        prepared = prepare(store, options)
        fit, watch = fitted_and_watched(prepared.corpus, fit_on)
        marks: list[str] = []
        if len(watch):
            folds = [Fold("val", fit, watch)]
            allowed = options["allow_same_subjects"], options["allow_duplicates"]
            marks, notes = check(folds, store, prepared.rows, *allowed, tolerated=TOLERATED)
            for note in notes:
                click.echo(f"note: {note}", err=True)
        seed, members = prepared.seeds
        points = len(prepared.grid.points)
        chosen = options["choose"] if points > 1 and options["choose"] != "all" else None
        card = prepared.card(
            "train",
            fit.tolist(),
            {"members": members if chosen else members * points, "marks": marks},
            seed=seed,
            fit_on=fit_on,
            grid=dict(prepared.grid.axes) or None,
            selection=chosen,
        )
        return Run.start(out, card, options["overwrite"]), prepared, fit, watch


def state(run: Run) -> str:
    """How far a run is."""
    kept = run.members - len(run.missing())
    return f"{run.path}, members: {run.members}" + (f", {kept} of them trained already" if kept else "")


def choose(run: Run, prepared: Prepared, fit: np.ndarray, options: Mapping[str, Any]) -> None:
    """Choose a point of the grid on inner folds of the clips being fitted."""
    from ...fusion.training.folds import Fold
    from ...fusion.training.selection import Rule, choose, epochs_to_choose

    candidates = prepared.grid.plans(prepared.plan)
    nobody = fit[:0]
    inner = inner_folds(Fold("fit", fit, nobody), prepared, 5, run.seed)
    rule = Rule("accuracy", halving=options["choose"] == "halving")
    with epochs_bar(epochs_to_choose(candidates, inner, rule)) as progress:
        choice = choose(prepared.corpus, candidates, inner, rule, run.seed, options["workers"], progress)
    run.decide(choice)
    assert choice.figures is not None
    point = prepared.grid.names[choice.candidate]
    text = f"{point}: accuracy {choice.figures.accuracy:.3f} on {len(inner)} inner folds"
    tell([("chosen", f"{text}, best of {len(candidates)} points")])


def fill(
    run: Run,
    prepared: Prepared,
    fit: np.ndarray,
    watch: np.ndarray,
    workers: int,
    stacked: bool | None = None,
) -> tuple[list[Scores], dict[str, Path]]:
    """Train the members that ``run`` lacks, under a progress bar, keeping each as it comes; score all clips.

    Returns:
        Each member's scores, and the file of their mean for each split.
    """
    from ...fusion.training.members import train_all
    from ...fusion.training.training import Job

    missing = run.missing()
    tasks = [
        (
            replace(run.plan_of(n), device=prepared.plan.device, weights=prepared.plan.weights),
            Job(run.seed_of(n), fit, watch),
        )
        for n in missing
    ]
    with epochs_bar(sum(plan.training.epochs for plan, _ in tasks)) as progress:
        for place, trained in train_all(prepared.corpus, tasks, workers, progress, stacked):
            run.save(missing[place], trained)
    members = run.scores(prepared.corpus, prepared.plan.device)
    run.write_history()
    run.calibrate(members, [prepared.corpus.clips[place].key for place in watch])
    return members, run.write_scores(members)


def report(members: Sequence[Scores], prepared: Prepared, split: str, run: Run | None = None) -> None:
    """Print accuracy and unweighted average recall on the labelled clips of ``split``: of each member, or,
    where a ``run`` has a grid, the mean over the members of each of its points."""
    from ...fusion.evaluation.ensemble import average
    from ...fusion.evaluation.metrics import summary

    chosen = [scores.select(split).labelled for scores in members]
    figures = [summary(scores) for scores in chosen]
    mean = average(chosen)
    marks = f" ({'; '.join(run.marks)})" if run and run.marks else ""
    seen = with_faces(mean, prepared.rows)
    together = [("ensemble", mean), *([("ensemble, clips with a face", seen)] if seen else [])]
    whole = [(name, summary(scores)) for name, scores in together]
    if run is not None and len(run.points) > 1:
        axes = list(run.points[0])
        own = [figures[place :: len(run.points)] for place in range(len(run.points))]
        rows: list[list[Any]] = [
            [*(f"{value:g}" for value in point.values()), len(of), _mean(of, "accuracy"), _mean(of, "uar")]
            for point, of in zip(run.points, own, strict=True)
        ]
        click.echo("\n" + aligned([*axes, "members", "mean accuracy", "mean UAR"], rows))
    else:
        whole = [*((f"member {number}", figure) for number, figure in enumerate(figures)), *whole]
    rows = [[name, figure.clips, figure.accuracy, figure.uar] for name, figure in whole]
    keep_result(marks=list(run.marks) if run else [])
    keep_result(figures={split: records(["name", "clips", "accuracy", "uar"], rows)})
    click.echo("\n" + aligned([f"on {split}{marks}", "clips", "accuracy", "UAR"], rows))
    note = unscored_note(mean)
    if note:
        click.echo(note)


def _mean(figures: Sequence[Summary], name: str) -> float:
    return sum(float(getattr(figure, name)) for figure in figures) / len(figures)


def finish(run: Run, prepared: Prepared, files: Mapping[str, Path]) -> None:
    """Say what was written, and what can be done next."""
    note = demo_note(prepared.rows)
    click.echo(f"\n{note}" if note else "")
    wrote = ", ".join(path.name for path in files.values())
    scores = {split: str(path) for split, path in files.items()}
    keep_result(run=str(run.path), members=run.members, scores=scores)
    calibrated = [("calibrated", str(run.calibration))] if run.calibration else []
    tell(
        [
            *calibrated,
            ("wrote", f"{run.path}: {wrote}; history.csv; a model and scores each member"),
            ("next", f"avemo-fuse ensemble {run.path} --out submission"),
        ]
    )
