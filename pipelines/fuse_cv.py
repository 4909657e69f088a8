"""``avemo-fuse cv``: cross-validation over the labelled clips of a store."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .cli import command
from .fuse_options import (
    FEATURES_HELP,
    Prepared,
    demo_note,
    describe,
    epochs_bar,
    prepare,
    tell,
    training_options,
    with_faces,
)
from .table import aligned

if TYPE_CHECKING:
    from ..fusion.folds import Fold
    from ..fusion.scores import Scores

EXAMPLES = (
    """
\b
Examples:
  avemo-fuse cv --folds subject --members 5 --out runs/cv-fbp
  avemo-fuse cv --folds kfold:10 --fusion concat --out runs/cv-concat
"""
    + FEATURES_HELP
)


@command("cv", epilog=EXAMPLES)
@click.option(
    "--folds",
    default="subject",
    show_default=True,
    metavar="KIND",
    help="subject: leave one subject out; kfold:K: K stratified folds.",
)
@training_options
@click.option("--out", type=click.Path(path_type=Path), default="runs/cv", show_default=True, metavar="DIR",
              help="Where the held-out scores go.")  # fmt: skip
def cv(folds: str, out: Path, **options: Any) -> None:
    """Train on all folds but one, score that one, in turn; over all labelled clips, whatever their split.

    Standardisation is fitted inside each fold. A run that was stopped goes on with the same command. The
    last line is the ensemble's accuracy and unweighted average recall over all held-out clips.
    """
    from ..cache.store import FeatureStore
    from ..fusion.crossvalidation import CrossValidation

    with FeatureStore(options["store"]) as store:
        prepared = prepare(store, options, labelled_only=True)
        divided = divide(folds, prepared, options["seed"])
        everything = range(len(prepared.rows))
        facts = {"members": options["members"]}
        card = prepared.card("cv", everything, facts, seed=options["seed"], folds=folds)
        run = CrossValidation(out, card, options["overwrite"])
    seeds = [options["seed"] + number for number in range(options["members"])]
    missing = run.missing(divided, seeds)
    trainings = len(divided) * len(seeds)
    state = f"{len(divided)} × {len(seeds)} members: {len(missing)} of {trainings} trainings to do"
    tell([*describe(prepared), ("folds", f"{folds}, {state}")])
    with epochs_bar(len(missing) * prepared.plan.training.epochs) as progress:
        members = run.run(prepared.corpus, prepared.plan, divided, seeds, options["workers"], progress)
    report(members, seeds, divided, prepared, out)


def divide(text: str, prepared: Prepared, seed: int) -> list[Fold]:
    """The folds that ``text`` asks for; people on both sides of k folds are told of."""
    from ..fusion.folds import k_fold, leave_one_subject_out

    clips = [row.clip for row in prepared.rows]
    kind, _, count = text.partition(":")
    if text == "subject":
        return leave_one_subject_out([clip.subject for clip in clips], [str(clip) for clip in clips])
    if kind != "kfold" or not count.isdigit():
        raise click.UsageError(f"--folds {text!r}: subject, or kfold:K with a number K, expected")
    if any(clip.subject for clip in clips):
        click.echo(
            "note: k folds have the same people in training and test; --folds subject does not", err=True
        )
    return k_fold([str(clip.label) for clip in clips], int(count), seed)


def report(
    members: Sequence[Scores], seeds: Sequence[int], folds: Sequence[Fold], prepared: Prepared, out: Path
) -> None:
    """Write the scores and print how good they are; the ensemble's figures come last."""
    import numpy as np

    from ..fusion.ensemble import average
    from ..fusion.files import replacing
    from ..fusion.metrics import summary

    mean = average(members)
    mean.write(out / "scores.csv")
    figures = [summary(scores) for scores in members]
    final = summary(mean)
    rows = [[str(seed), figure.accuracy, figure.uar] for seed, figure in zip(seeds, figures, strict=True)]
    with replacing(out / "results.csv") as path, path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([["seed", "accuracy", "uar"], *rows])
    click.echo("\n" + aligned(["fold", "clips", "accuracy"], _of_folds(mean, folds, prepared)))
    click.echo("\n" + aligned(["seed", "accuracy", "UAR"], rows))
    click.echo("")
    if len(seeds) > 1:
        columns = np.array([[figure.accuracy, figure.uar] for figure in figures])
        means, spreads = columns.mean(axis=0), columns.std(axis=0, ddof=1)
        accuracy, uar = (f"{middle:.3f} ± {sd:.3f}" for middle, sd in zip(means, spreads, strict=True))
        tell([("one member", f"accuracy {accuracy}  UAR {uar} (mean ± sd over {len(seeds)} seeds)")])
    seen = with_faces(mean, prepared.rows)
    if seen:
        figure = summary(seen)
        tell(
            [("with a face", f"accuracy {figure.accuracy:.3f}  UAR {figure.uar:.3f} ({figure.clips} clips)")]
        )
    tell([("wrote", f"{out}: scores.csv, results.csv, scores of each member")])
    note = demo_note(prepared.rows)
    if note:
        click.echo(note)
    click.echo(f"accuracy {final.accuracy:.3f}  UAR {final.uar:.3f}")


def _of_folds(mean: Scores, folds: Sequence[Fold], prepared: Prepared) -> list[list[object]]:
    from ..fusion.metrics import summary

    places = {clip: i for i, clip in enumerate(mean.clips)}
    rows: list[list[object]] = []
    for fold in folds:
        held = mean.take([places[prepared.rows[i].clip.key] for i in fold.test])
        rows.append([fold.name, len(fold.test), summary(held).accuracy])
    return rows
