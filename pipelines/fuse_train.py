"""``avemo-fuse train``: an ensemble of heads on a store of features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
    import numpy as np

    from ..fusion.runs import Run
    from ..fusion.scores import Scores

EXAMPLES = (
    """
\b
Examples:
  avemo-fuse train --fusion fbp
  avemo-fuse train --members 5 --visual f-meanstd-2 --out runs/wide
  avemo-fuse train --visual f-ar-mean:ir50@affectnet+ir50@rafdb --attention relation
  avemo-fuse train --fusion audio --audio logmel-stats --out runs/sound
  avemo-fuse train --fit-on train+val --members 4 --out runs/submission
"""
    + FEATURES_HELP
)


@command("train", epilog=EXAMPLES)
@training_options
@click.option(
    "--fit-on",
    type=click.Choice(["train", "train+val"]),
    default="train",
    show_default=True,
    help="train+val, as for a submission, leaves no clips to validate on.",
)
@click.option("--out", type=click.Path(path_type=Path), default="runs/default", show_default=True,
              metavar="DIR", help="The run's folder: models, history, scores.")  # fmt: skip
def train(out: Path, fit_on: str, **options: Any) -> None:
    """Train an ensemble of heads, and score every clip of the store with it.

    A run that was stopped goes on with the same command; more --members add to those that are there. The
    last epoch is the model: validation clips are watched, and choose nothing.
    """
    run, prepared, fit, watch = begin(out, fit_on, options)
    validated = f"{len(watch)} validate" if len(watch) else "none to validate: `avemo-fuse cv` can"
    tell([*describe(prepared), ("fitted", f"{len(fit)} clips; {validated}"), ("run", state(run))])
    members, files = fill(run, prepared, fit, watch, options["workers"])
    if len(watch):
        report(members, prepared, "val")
    finish(run, prepared, files)


def begin(out: Path, fit_on: str, options: Mapping[str, Any]) -> tuple[Run, Prepared, np.ndarray, np.ndarray]:
    """The run that the options ask for, new or to be gone on with; the clips to fit and to watch (indices).

    Raises:
        StoreError: the store cannot be read.
        FusionError: options that cannot be used, or ``out`` holds another run.
    """
    from ..cache.store import FeatureStore
    from ..fusion.corpus import fitted_and_watched
    from ..fusion.runs import Run

    with FeatureStore(options["store"]) as store:
        prepared = prepare(store, options)
        fit, watch = fitted_and_watched(prepared.corpus, fit_on)
        facts = {"members": options["members"]}
        card = prepared.card("train", fit.tolist(), facts, seed=options["seed"], fit_on=fit_on)
        return Run.start(out, card, options["overwrite"]), prepared, fit, watch


def state(run: Run) -> str:
    """How far a run is."""
    kept = run.members - len(run.missing())
    return f"{run.path}, members: {run.members}" + (f", {kept} of them trained already" if kept else "")


def fill(
    run: Run, prepared: Prepared, fit: np.ndarray, watch: np.ndarray, workers: int
) -> tuple[list[Scores], dict[str, Path]]:
    """Train the members that ``run`` lacks, under a progress bar, keeping each as it comes; score all clips.

    Returns:
        Each member's scores, and the file of their mean for each split.
    """
    from ..fusion.members import train_all
    from ..fusion.training import Job

    missing = run.missing()
    jobs = [Job(run.seed + number, fit, watch) for number in missing]
    with epochs_bar(len(jobs) * prepared.plan.training.epochs) as progress:
        for place, trained in train_all(prepared.corpus, prepared.plan, jobs, workers, progress):
            run.save(missing[place], trained)
    members = run.scores(prepared.corpus, prepared.plan.device)
    run.write_history()
    return members, run.write_scores(members)


def report(members: Sequence[Scores], prepared: Prepared, split: str) -> None:
    """Print accuracy and unweighted average recall on the labelled clips of ``split``."""
    from ..fusion.ensemble import average
    from ..fusion.metrics import summary

    chosen = [scores.select(split).labelled for scores in members]
    sets = [(f"member {number}", scores) for number, scores in enumerate(chosen)]
    mean = average(chosen)
    sets.append(("ensemble", mean))
    seen = with_faces(mean, prepared.rows)
    if seen:
        sets.append(("ensemble, clips with a face", seen))
    figures = [(name, summary(scores)) for name, scores in sets]
    rows = [[name, figure.clips, figure.accuracy, figure.uar] for name, figure in figures]
    click.echo("\n" + aligned([f"on {split}", "clips", "accuracy", "UAR"], rows))


def finish(run: Run, prepared: Prepared, files: Mapping[str, Path]) -> None:
    """Say what was written, and what can be done next."""
    note = demo_note(prepared.rows)
    click.echo(f"\n{note}" if note else "")
    wrote = ", ".join(path.name for path in files.values())
    tell(
        [
            ("wrote", f"{run.path}: {wrote}; history.csv; a model and scores each member"),
            ("next", f"avemo-fuse ensemble {run.path} --out submission"),
        ]
    )
