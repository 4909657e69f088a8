"""``avemo-fuse cv``: cross-validation over the labelled clips of a store."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..cli.framework import command, group, json_result, refuse_idle
from ..cli.options import select_option
from ..cli.settings_file import config_options
from ..recipes.presets import with_preset
from ..stores import open_store
from .acting import idle
from .cv_results import Outcome, show, write
from .leaks import allow_duplicates, allow_same_subjects, check
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
)

if TYPE_CHECKING:
    from ...cache.clips import Clip
    from ...fusion.training.cards import Card
    from ...fusion.training.crossvalidation import CrossValidation, Design
    from ...fusion.training.folds import Fold

NORMALISED = "transductive: normalised by subject"
SESSION = r"[Ss]es(?:sion)?[-_ ]?\d+"

EXAMPLES = (
    """
\b
Examples:
  avemo-fuse cv --folds subject --members 5 --out runs/cv-fbp
  avemo-fuse cv --folds group-kfold:5 --select epoch --out runs/cv-epoch
  avemo-fuse cv --grid "lambda_a=0:1:0.1, lr=1e-4|1e-3" --halving --out runs/cv-grid
  avemo-fuse cv --folds session --session-pattern 'Ses\\d\\d' --out runs/cv-session
  avemo-fuse cv --preset zhou2021 --fusion g-fbp --out runs/cv-zhou2021
  avemo-fuse cv --folds kfold:10 --allow-same-subjects --fusion concat --out runs/cv-10

\b
Folds:
  subject        leave one subject out
  session        leave one session out; --session-pattern finds it in SPLIT/ID
  kfold:K        K stratified folds
  group-kfold:K  K folds of whole subjects, classes in about their shares
  split[:NAME]   train on the split train, test on NAME (default: test,
                 else val)

\b
DIR gets scores.csv (the mean of the members), member-NNN.csv, results.md
with all tables, and the same as CSV: results.csv (members), tables/*.csv.
"""
    + FEATURES_HELP
)


@command("cv", epilog=EXAMPLES)
@group(
    "Selection",
    click.option(
        "--folds",
        default="subject",
        show_default=True,
        metavar="KIND",
        help="subject, session, kfold:K, group-kfold:K or split; see below.",
    ),
    select_option,
    click.option(
        "--select-by",
        type=click.Choice(["accuracy", "uar", "loss"]),
        default="accuracy",
        show_default=True,
        help="Figure to choose by.",
    ),
    click.option(
        "--inner-folds",
        type=click.IntRange(min=2),
        default=5,
        show_default=True,
        metavar="K",
        help="Number of inner folds of whole subjects (or sessions), or fewer if there are fewer of them.",
    ),
    click.option(
        "--halving", is_flag=True, help="With a large --grid: drop the worse two thirds early, repeatedly."
    ),
    click.option(
        "--session-pattern",
        default=SESSION,
        show_default=True,
        metavar="REGEX",
        help="Finds the session in a clip's SPLIT/ID where the store has none: the first group, or the whole "
        "match.",
    ),
)
@allow_same_subjects
@allow_duplicates
@group(
    "Features",
    click.option(
        "--normalise",
        type=click.Choice(["none", "subject"]),
        default="none",
        show_default=True,
        help="subject: normalise each subject's features to zero mean and unit variance over all clips, "
        "including unlabelled ones and those under test. Transductive: results are marked.",
    ),
)
@training_options
@group(
    "Output",
    click.option("--out", type=click.Path(path_type=Path), default="runs/cv", show_default=True,
                 metavar="DIR", help="Folder for held-out scores and tables."),
)  # fmt: skip
@json_result
@config_options
def cv(out: Path, **options: Any) -> None:
    """Train on all folds but one, score that one, in turn; over all labelled clips, whatever their split.

    Standardisation is fitted inside each fold. What --select chooses, the point of --grid, and the weight of
    --fusion decision where none is given, is chosen on inner folds of its training clips. A subject, or a
    copy of a recording, on both sides of a fold is refused. A run that was stopped goes on with the same
    command. The last line is the ensemble's accuracy and unweighted average recall over all held-out clips.
    """
    options = with_preset(options)
    refuse_idle(idle(options))
    outcome = cross_validate(out, options)
    note = demo_note(outcome.rows)
    write(outcome, out, note)
    show(outcome, out, note)


@dataclass(frozen=True, eq=False)
class Arranged:
    """A cross-validation that is ready to run: all that its options ask for was found and fits together."""

    prepared: Prepared
    design: Design
    card: Card
    notes: Sequence[str]


def arrange(options: Mapping[str, Any]) -> Arranged:
    """Read the store, divide its clips and see that nothing leaks; train nothing yet.

    Raises:
        StoreError: the store cannot be read.
        NotHeld: it does not hold a feature.
        FusionError: options that cannot be used.
    """
    with open_store(options["store"]) as store:
        prepared = prepare(store, options, labelled_only=True)
        folds = divide(options["folds"], clips_of(prepared), options["session_pattern"], options["seed"])
        allowed = options["allow_same_subjects"], options["allow_duplicates"]
        marks, notes = check(folds, store, prepared.rows, *allowed)
    if options["normalise"] == "subject":
        from ...fusion.features.normalisation import per_subject

        prepared.corpus = per_subject(prepared.corpus)
        marks.append(NORMALISED)
    design = design_of(folds, prepared, options)
    return Arranged(prepared, design, card_of(prepared, design, marks, options), notes)


def cross_validate(out: Path, options: Mapping[str, Any]) -> Outcome:
    """Train and score what ``out`` lacks, under progress bars.

    Raises:
        StoreError: the store cannot be read.
        FusionError: options that cannot be used, or ``out`` holds another run.
    """
    from ...fusion.training.crossvalidation import CrossValidation

    arranged = arrange(options)
    for note in arranged.notes:
        click.echo(f"note: {note}", err=True)
    prepared, design = arranged.prepared, arranged.design
    run = CrossValidation(out, arranged.card, options["overwrite"])
    tell([*describe(prepared), *plan_of(run, design, options)])
    inner_epochs = sum(design.inner_epochs(design.folds[place]) for place in run.undecided(design))
    with epochs_bar(inner_epochs) as progress:
        choices = run.choose(prepared.corpus, design, options["workers"], progress)
    with epochs_bar(sum(choices[fold].epochs for fold, _ in run.missing(design))) as progress:
        members = run.run(prepared.corpus, design, choices, options["workers"], progress, options["stacked"])
    return Outcome(members, design, choices, prepared.rows, arranged.notes)


def clips_of(prepared: Prepared) -> list[Clip]:
    """The labelled clips."""
    return [row.clip for row in prepared.rows]


def divide(text: str, clips: Sequence[Clip], session_pattern: str, seed: int) -> list[Fold]:
    """The folds of ``clips`` that ``text`` asks for.

    Raises:
        UsageError: it asks for no folds that there are.
        FusionError: the clips cannot be divided so.
    """
    from ...fusion.training import folds

    names = [str(clip) for clip in clips]
    labels = [str(clip.label) for clip in clips]
    subjects = [clip.subject for clip in clips]
    kind, colon, argument = text.partition(":")
    if text == "subject":
        return folds.leave_one_out(subjects, names)
    if text == "session":
        return folds.leave_one_out(sessions(clips, session_pattern), names, "session")
    if kind == "kfold" and argument.isdecimal():
        return folds.k_fold(labels, int(argument), seed)
    if kind == "group-kfold" and argument.isdecimal():
        return folds.group_k_fold(labels, subjects, int(argument), seed, names)
    if kind == "split" and bool(colon) == bool(argument):
        return folds.fixed_split([clip.split for clip in clips], argument or None)
    raise click.UsageError(
        f"--folds {text!r}: subject, session, kfold:K or group-kfold:K with a number K, split or split:NAME "
        "expected"
    )


def sessions(clips: Sequence[Clip], pattern: str) -> list[str | None]:
    """The session of each clip, as stored, or what ``pattern`` finds in its ``split/id``, if anything.

    A pattern other than the default one comes before what is stored.
    """
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise click.UsageError(f"--session-pattern {pattern!r} is no regular expression: {error}") from error
    stored = pattern == SESSION
    found = (compiled.search(str(clip)) for clip in clips)
    named = ((match[1] if compiled.groups else match[0]) if match else None for match in found)
    return [(stored and clip.session) or name for clip, name in zip(clips, named, strict=True)]


def design_of(folds: Sequence[Fold], prepared: Prepared, options: Mapping[str, Any]) -> Design:
    """What is to be trained and chosen."""
    from ...fusion.training.crossvalidation import Design
    from ...fusion.training.selection import Rule

    first, members = prepared.seeds
    seeds = [first + number for number in range(members)]
    inner = partial(divide_again, prepared=prepared, options=options)
    rule = Rule(options["select_by"], options["select"] == "epoch", options["halving"])
    return Design(folds, seeds, prepared.grid.plans(prepared.plan), inner, rule, prepared.grid.names)


def plan_of(run: CrossValidation, design: Design, options: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What is to be done, as names and texts."""
    folds, seeds = len(design.folds), len(design.seeds)
    state = f"{len(run.missing(design))} of {folds * seeds} trainings to do"
    lines = [("folds", f"{options['folds']}, {folds} × {seeds} members: {state}")]
    if design.chosen:
        counts = sorted({len(design.inner(fold)) for fold in design.folds})
        chosen, inner = " and ".join(design.chosen), " to ".join(map(str, counts))
        text = f"{chosen} by {design.rule.by} on {inner} inner folds"
        lines.append(("selection", f"{text}; {len(run.undecided(design))} of {folds} folds to do"))
    return lines + [("marked", mark) for mark in run.marks]


def divide_again(fold: Fold, prepared: Prepared, options: Mapping[str, Any]) -> list[Fold]:
    """Inner folds of a fold's training clips: of whole sessions or subjects where all are named, except in k
    folds, which do not keep them whole either.

    Raises:
        FusionError: the clips are too few to divide once more.
    """
    groups: list[str | None] | None = None
    kind = options["folds"].partition(":")[0]
    if kind == "session":
        clips = [prepared.rows[i].clip for i in fold.train]
        groups = sessions(clips, options["session_pattern"])
    elif kind == "kfold":
        groups = []
    return inner_folds(fold, prepared, options["inner_folds"], options["seed"], groups)


def card_of(prepared: Prepared, design: Design, marks: Sequence[str], options: Mapping[str, Any]) -> Card:
    """What to write on the run's folder."""
    from ...fusion.heads.registry import described

    selection = {"of": design.chosen, "by": options["select_by"], "inner_folds": options["inner_folds"]}
    if options["halving"]:
        selection["halving"] = True
    plans = [
        {"head": described(plan.head), "training": plan.training.described()} for plan in design.candidates
    ]
    settings = {
        "seed": design.seeds[0],
        "folds": options["folds"],
        "session_pattern": options["session_pattern"] if options["folds"] == "session" else None,
        "normalise": options["normalise"] if options["normalise"] != "none" else None,
        "selection": selection if design.chosen else None,
        "candidates": plans if len(plans) > 1 else None,
    }
    facts = {"members": len(design.seeds), "marks": marks}
    return prepared.card("cv", range(len(prepared.rows)), facts, **settings)
