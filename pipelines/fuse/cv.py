"""Cross-validation over the labelled clips of a store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from ...fusion.features.normalisation import per_subject
from ...fusion.heads.registry import described
from ...fusion.training.cards import Card
from ...fusion.training.crossvalidation import CrossValidation, Design
from ...fusion.training.folds import Fold, divide, divide_again
from ...fusion.training.leaks import check
from ...fusion.training.selection import Rule
from ..cluster.training import trainer
from ..stores import open_store
from .cv_results import CrossValidated
from .prepared import Prepared, describe, prepare
from .reporter import Reporter
from .settings import CrossValidationSettings

NORMALISED = "transductive: normalised by subject"
SILENT = Reporter()


@dataclass(frozen=True, eq=False)
class Arranged:
    """A cross-validation that is ready to run: its settings were checked, its features read."""

    settings: CrossValidationSettings
    prepared: Prepared
    design: Design
    card: Card
    notes: Sequence[str]


def arrange(settings: CrossValidationSettings) -> Arranged:
    """Read the store, divide its clips into folds and check for leaks; train nothing yet.

    Raises:
        StoreError: the store cannot be read.
        NotHeld: it does not hold a feature.
        FusionError: the settings are invalid.
    """
    with open_store(settings.store) as store:
        prepared = prepare(store, settings, labelled_only=True)
        clips = [row.clip for row in prepared.rows]
        folds = divide(settings.folds, clips, settings.session_pattern, settings.seed)
        allowed = settings.allow_same_subjects, settings.allow_duplicates
        marks, notes = check(folds, store, prepared.rows, *allowed)
    if settings.normalise == "subject":
        prepared.corpus = per_subject(prepared.corpus)
        marks.append(NORMALISED)
    design = design_of(folds, prepared, settings)
    return Arranged(settings, prepared, design, card_of(prepared, design, marks, settings), notes)


def cross_validate(settings: CrossValidationSettings, reporter: Reporter = SILENT) -> CrossValidated:
    """Train and score the members that the folder lacks.

    Raises:
        StoreError: the store cannot be read.
        FusionError: the settings are invalid, or the folder holds another run.
    """
    arranged = arrange(settings)
    for note in arranged.notes:
        reporter.note(note)
    prepared, design = arranged.prepared, arranged.design
    run = CrossValidation(settings.out, arranged.card, settings.overwrite)
    reporter.facts([*describe(prepared), *plan_of(run, design, settings)])
    inner_epochs = sum(design.inner_epochs(design.folds[place]) for place in run.undecided(design))
    device, spread = prepared.setup.device, settings.cluster.on != "local"
    with trainer(settings.cluster, settings.out, settings.workers, device, reporter.note) as trained:
        with reporter.epochs(inner_epochs) as progress:
            choices = run.choose(prepared.corpus, design, trained, progress, side_by_side=spread)
        with reporter.epochs(sum(choices[fold].epochs for fold, _ in run.missing(design))) as progress:
            members = run.run(prepared.corpus, design, choices, trained, progress, settings.stacked)
    return CrossValidated(members, design, choices, prepared.rows, arranged.notes)


def design_of(folds: Sequence[Fold], prepared: Prepared, settings: CrossValidationSettings) -> Design:
    """Return what to train and what to choose."""
    first, members = prepared.seeds
    seeds = [first + number for number in range(members)]
    inner = partial(
        divide_again,
        kind=settings.folds,
        clips=[row.clip for row in prepared.rows],
        count=settings.inner_folds,
        session_pattern=settings.session_pattern,
        seed=settings.seed,
    )
    rule = Rule(settings.choose_by, settings.choose_epoch, settings.choose_grid == "halving")
    return Design(folds, seeds, prepared.grid.setups(prepared.setup), inner, rule, prepared.grid.names)


def plan_of(run: CrossValidation, design: Design, settings: CrossValidationSettings) -> list[tuple[str, str]]:
    """Describe the work to do, as names and texts."""
    folds, seeds = len(design.folds), len(design.seeds)
    state = f"{len(run.missing(design))} of {folds * seeds} trainings to do"
    lines = [("folds", f"{settings.folds}, {folds} × {seeds} members: {state}")]
    if design.chosen:
        counts = sorted({len(design.inner(fold)) for fold in design.folds})
        chosen, inner = " and ".join(design.chosen), " to ".join(map(str, counts))
        text = f"{chosen} by {design.rule.by} on {inner} inner folds"
        lines.append(("selection", f"{text}; {len(run.undecided(design))} of {folds} folds to do"))
    return lines + [("marked", mark) for mark in run.marks]


def card_of(
    prepared: Prepared, design: Design, marks: Sequence[str], settings: CrossValidationSettings
) -> Card:
    """Return the card for the run's folder."""
    selection = {"of": design.chosen, "by": settings.choose_by, "inner_folds": settings.inner_folds}
    if design.rule.halving:
        selection["halving"] = True
    setups = [
        {"head": described(setup.head), "training": setup.training.described()} for setup in design.candidates
    ]
    kept = {
        "seed": design.seeds[0],
        "folds": settings.folds,
        "session_pattern": settings.session_pattern if settings.folds == "session" else None,
        "normalise": settings.normalise if settings.normalise != "none" else None,
        "selection": selection if design.chosen else None,
        "candidates": setups if len(setups) > 1 else None,
    }
    facts = {"members": len(design.seeds), "marks": marks}
    return prepared.card("cv", range(len(prepared.rows)), facts, **kept)
