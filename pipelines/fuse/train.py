"""Train an ensemble of heads on a feature store."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from torch import Tensor

from ...fusion.errors import FusionError
from ...fusion.evaluation.scores import Scores
from ...fusion.features.corpus import fitted_and_watched, load
from ...fusion.heads.registry import described
from ...fusion.training import selection
from ...fusion.training.folds import Fold, divide_again
from ...fusion.training.leaks import TOLERATED, check
from ...fusion.training.members import TrainAll
from ...fusion.training.runs import Run
from ...fusion.training.selection import Rule, epochs_to_choose
from ...fusion.training.training import Fit
from ..cluster.training import device_here, trainer
from ..stores import open_store
from .prepared import Prepared, describe, prepare
from .reporter import Reporter
from .settings import TrainSettings

SILENT = Reporter()
Weights = Mapping[str, Mapping[str, Tensor]]


@dataclass(frozen=True, eq=False)
class Begun:
    """A run that is ready to be trained.

    Attributes:
        weights: initial weights of the encoders of each member.
        fitted, watched: indices of the clips to train on, and to validate on.
    """

    settings: TrainSettings
    run: Run
    prepared: Prepared
    weights: Sequence[Weights]
    fitted: np.ndarray
    watched: np.ndarray

    @property
    def state(self) -> str:
        """The progress of the run, as text."""
        kept = self.run.members - len(self.run.missing())
        done = f", {kept} of them trained already" if kept else ""
        return f"{self.run.path}, members: {self.run.members}{done}"


@dataclass(frozen=True, eq=False)
class TrainedRun:
    """A trained run: each member's scores of all clips, and the file of their mean for each split."""

    begun: Begun
    members: Sequence[Scores]
    files: Mapping[str, Path]


def train(settings: TrainSettings | Sequence[TrainSettings], reporter: Reporter = SILENT) -> TrainedRun:
    """Train the members that a run lacks, and score all clips of the store with it.

    Args:
        settings: what to train; if several, whose heads and training may differ, their members share one run.
        reporter: receives facts, notes and progress.

    Raises:
        StoreError: the store cannot be read.
        FusionError: the settings are invalid, a subject or a recording is both fitted and watched, or the
            folder holds another run.
    """
    return finish(begin(settings, reporter), reporter)


def begin(settings: TrainSettings | Sequence[TrainSettings], reporter: Reporter = SILENT) -> Begun:
    """Start or reopen a run, before anything is trained.

    Raises:
        StoreError, FusionError: as :func:`train`.
    """
    parts = [settings] if isinstance(settings, TrainSettings) else list(settings)
    settings, several = parts[0], len(parts) > 1
    with open_store(settings.store) as store:
        every = [prepare(store, part) for part in parts]
        prepared = together(every)
        fitted, watched = fitted_and_watched(prepared.corpus, settings.fit_on)
        marks: list[str] = []
        if len(watched):
            folds = [Fold("val", fitted, watched)]
            allowed = settings.allow_same_subjects, settings.allow_duplicates
            marks, notes = check(folds, store, prepared.rows, *allowed, tolerated=TOLERATED)
            for note in notes:
                reporter.note(note)
        seed, members = prepared.seeds
        points = len(prepared.grid.points)
        chosen = settings.choose_grid if points > 1 and settings.choose_grid != "all" else None
        card = prepared.card(
            "train",
            fitted.tolist(),
            {"members": members if chosen else members * points, "marks": marks},
            seed=seed,
            fit_on=settings.fit_on,
            grid=dict(prepared.grid.axes) or None,
            selection=chosen,
            mix=[
                {
                    "members": part.seeds[1],
                    "head": described(part.setup.head),
                    "training": part.setup.training.described(),
                }
                for part in every
            ]
            if several
            else None,
        )
        run = Run.start(settings.out, card, settings.overwrite)
    weights = [part.setup.weights for part in every for _ in range(part.seeds[1])]
    return Begun(settings, run, prepared, weights, fitted, watched)


def together(every: Sequence[Prepared]) -> Prepared:
    """Combine what several heads are trained on into one run.

    Raises:
        FusionError: two of them read different features of a stream, or one has a grid.
    """
    first, *others = every
    for other in others:
        for stream in first.features.keys() & other.features.keys():
            if first.features[stream] != other.features[stream]:
                one, two = (each.features[stream].name for each in (first, other))
                raise FusionError(
                    f"{first.setup.head.fusion} reads {one} and {other.setup.head.fusion} {two}; heads of "
                    f"one run must read the same: name it with --{stream}, or train them separately and "
                    "average them with avemo-fuse ensemble"
                )
        features = {**first.features, **other.features}
        same = len(features) == len(first.features)
        first = replace(
            first,
            features=features,
            corpus=first.corpus if same else load(first.store, features, first.rows),
            keys={**first.keys, **other.keys},
            seeds=(first.seeds[0], first.seeds[1] + other.seeds[1]),
        )
    if others and any(part.grid.axes for part in every):
        raise FusionError("a grid is for one head; train the heads separately, or leave out --grid")
    return first


def finish(begun: Begun, reporter: Reporter = SILENT) -> TrainedRun:
    """Train the members that the run lacks, saving each when it is done; score all clips."""
    run, prepared, settings = begun.run, begun.prepared, begun.settings
    validated = (
        f"{len(begun.watched)} validate" if len(begun.watched) else "none to validate: `avemo-fuse cv` can"
    )
    fitted = ("fitted", f"{len(begun.fitted)} clips; {validated}")
    heads = Counter(run.setup_of(n).head.fusion for n in range(run.members)) if run.mixed else {}
    mixed = [("members", " + ".join(f"{count} {name}" for name, count in heads.items()))] if heads else []
    reporter.facts([*describe(prepared), *mixed, fitted, ("run", begun.state)])
    if run.undecided or run.missing():
        with trainer(
            settings.cluster, run.path, settings.workers, prepared.setup.device, reporter.note
        ) as trained:
            if run.undecided:
                choose(begun, reporter, trained)
            _train_missing(begun, reporter, trained)
    members = run.scores(prepared.corpus, device_here(settings.cluster, prepared.setup.device))
    run.write_history()
    run.calibrate(members, [prepared.corpus.clips[place].key for place in begun.watched])
    return TrainedRun(begun, members, run.write_scores(members))


def _train_missing(begun: Begun, reporter: Reporter, trained: TrainAll) -> None:
    run, device = begun.run, begun.prepared.setup.device
    missing = run.missing()
    tasks = [
        (
            replace(run.setup_of(n), device=device, weights=begun.weights[n % len(begun.weights)]),
            Fit(run.seed_of(n), begun.fitted, begun.watched),
        )
        for n in missing
    ]
    with reporter.epochs(sum(setup.training.epochs for setup, _ in tasks)) as progress:
        results = trained(begun.prepared.corpus, tasks, progress=progress, stacked=begun.settings.stacked)
        for place, result in results:
            run.save(missing[place], result)


def choose(begun: Begun, reporter: Reporter, trained: TrainAll) -> None:
    """Choose a point of the grid on inner folds of the training clips."""
    run, prepared, settings = begun.run, begun.prepared, begun.settings
    candidates = prepared.grid.setups(prepared.setup)
    fold = Fold("fit", begun.fitted, begun.fitted[:0])
    inner = divide_again(fold, "subject", [row.clip for row in prepared.rows], 5, seed=run.seed)
    rule = Rule("accuracy", halving=settings.choose_grid == "halving")
    with reporter.epochs(epochs_to_choose(candidates, inner, rule)) as progress:
        choice = selection.choose(prepared.corpus, candidates, inner, rule, run.seed, trained, progress)
    run.decide(choice)
    assert choice.figures is not None
    point = prepared.grid.names[choice.candidate]
    text = f"{point}: accuracy {choice.figures.accuracy:.3f} on {len(inner)} inner folds"
    reporter.facts([("chosen", f"{text}, best of {len(candidates)} points")])
