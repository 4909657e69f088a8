"""Reads the results of runs and ensembles from their folders."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from ....cache.reading import read_json
from ...cli.progress import progress_bar
from ...fuse.ensemble import ENSEMBLE, read_member
from ..html import percent
from .clips import ShownClip, select_clips
from .insight import STEPS, ClipInsights, collect_insights

if TYPE_CHECKING:
    from ....fusion.evaluation.calibration import Bin
    from ....fusion.evaluation.intervals import Interval, Intervals
    from ....fusion.evaluation.metrics import Summary
    from ....fusion.evaluation.scores import Scores
    from ....fusion.evaluation.significance import MatchedPair, McNemar
    from ....fusion.training.cards import Card
    from ....fusion.training.training import Epoch
    from ...fuse.ensemble import EnsembleMember


@dataclass(frozen=True)
class Group:
    """A group of clips for which metrics are computed.

    Attributes:
        name: name of the group on the page.
        scores: scores of its clips.
        fitted: whether members were trained on these clips.
        with_face: the clips in which a face was found; None if these are all, none, or not known.
    """

    name: str
    scores: Scores
    fitted: bool = False
    with_face: Group | None = None

    @cached_property
    def summary(self) -> Summary:
        """The metrics."""
        from ....fusion.evaluation.metrics import summary

        return summary(self.scores)

    @property
    def row(self) -> list[object]:
        """Name and metrics, formatted for display."""
        summary = self.summary
        return [self.name, summary.clips, *map(percent, (summary.accuracy, summary.uar, summary.macro_f1))]

    @property
    def wrong(self) -> int:
        """The number of wrong predictions."""
        pairs = zip(self.scores.truth, self.scores.predicted, strict=True)
        return sum(truth not in (None, predicted) for truth, predicted in pairs)

    @property
    def intervals(self) -> Intervals:
        """Bootstrap intervals of the metrics."""
        from ....fusion.evaluation.intervals import bootstrap

        return bootstrap(self.scores)

    @property
    def recalls(self) -> list[tuple[str, int, int, Interval]]:
        """Name, correct clips, total clips and Wilson interval of each class that occurs."""
        from ....fusion.evaluation.intervals import of_share

        counts = zip(self.summary.classes, self.summary.confusion.tolist(), strict=True)
        rows = [(name, row[place], sum(row)) for place, (name, row) in enumerate(counts) if sum(row)]
        return [(name, correct, total, of_share(correct, total)) for name, correct, total in rows]

    @property
    def most_common(self) -> tuple[str, float]:
        """The most frequent class and its share."""
        counts = self.summary.confusion.sum(axis=1)
        return self.summary.classes[int(counts.argmax())], float(counts.max() / counts.sum())

    @property
    def bins(self) -> Sequence[Bin]:
        """Clips binned by their highest score."""
        from ....fusion.evaluation.calibration import reliability

        return reliability(self.scores)

    @property
    def calibration_error(self) -> float:
        """The expected calibration error."""
        from ....fusion.evaluation.calibration import expected_calibration_error

        return expected_calibration_error(self.scores)


@dataclass(frozen=True)
class BaselineComparison:
    """Comparison of a run with a baseline, on the clips scored by both.

    Attributes:
        baseline, run: metrics of each.
        pair: matched-pair test; None for a single clip.
        exact: McNemar's test.
        left_out: number of clips scored by only one of the two, or of unknown class.
    """

    baseline: Summary
    run: Summary
    pair: MatchedPair | None
    exact: McNemar
    left_out: int

    @classmethod
    def of(cls, baseline: EnsembleMember, scores: Scores) -> BaselineComparison:
        """Compare scores with a baseline, without the clips that the baseline was trained on."""
        from ....fusion.evaluation.comparison import errors, match
        from ....fusion.evaluation.metrics import summary
        from ....fusion.evaluation.significance import matched_pair, mcnemar

        kept = [i for i, clip in enumerate(baseline.scores.clips) if clip[0] not in baseline.trained_on]
        matched = match(baseline.scores.take(kept), scores)
        wrong = [errors([side], side) for side in (matched.first, matched.second)]
        return cls(
            summary(matched.first),
            summary(matched.second),
            matched_pair(*wrong) if len(matched.first.clips) > 1 else None,
            mcnemar(wrong[0] == 0, wrong[1] == 0),
            matched.only_first + matched.only_second + matched.unlabelled,
        )


@dataclass(frozen=True)
class RunResults:
    """Results of a run or an ensemble.

    Attributes:
        name: name of its folder.
        card: its settings.
        groups: the labelled clips, one group per split.
        members: accuracy of each single member on held-out clips, 0 to 1, if known.
        unlabelled: scores of clips of unknown class.
        histories: epochs of each member; empty for a cross-validation or an ensemble.
        ensemble_facts: members, temperature and prior of an ensemble, by name.
        clips: clips of :attr:`detailed_group` that are shown one by one.
        insights: attention, pictures and embeddings.
        comparison: comparison with a baseline.
    """

    name: str
    card: Card
    groups: Sequence[Group]
    members: Sequence[float] = ()
    unlabelled: Scores | None = None
    histories: Sequence[Sequence[Epoch]] = ()
    ensemble_facts: Mapping[str, object] = field(default_factory=dict)
    clips: Sequence[ShownClip] = ()
    insights: ClipInsights = field(default_factory=ClipInsights)
    comparison: BaselineComparison | None = None

    @property
    def shown(self) -> Sequence[Group]:
        """The groups that members were not trained on; all groups if there are none."""
        return [group for group in self.groups if not group.fitted] or self.groups

    @property
    def detailed_group(self) -> Group | None:
        """The group from which clips are shown one by one."""
        if self.groups:
            return self.shown[0]
        return Group("clips whose class is not known", self.unlabelled) if self.unlabelled else None

    @property
    def factors(self) -> dict[str, list[tuple[str, float]]]:
        """Class → (clip, adaption factor) pairs, with classes in increasing order of their mean."""
        truth = (
            dict(zip(self.detailed_group.scores.clips, self.detailed_group.scores.truth, strict=True))
            if self.detailed_group
            else {}
        )
        found: dict[str, list[tuple[str, float]]] = {}
        for clip, value in self.insights.factors.items():
            if (name := truth.get(clip)) is not None and value == value:  # NaN: a stream is missing
                found.setdefault(name, []).append(("/".join(clip), value))
        return dict(sorted(found.items(), key=lambda item: mean_of(item[1])))


def mean_of(factors: Sequence[tuple[str, float]]) -> float:
    """Return the mean factor of clips."""
    return sum(value for _, value in factors) / len(factors)


def read(path: Path, store: Path | None = None, baseline: EnsembleMember | None = None) -> RunResults:
    """Read the results in the folder of a run or an ensemble, with details of selected clips.

    Args:
        path: the folder.
        store: feature store of the clips; by default the one used in training, else ``features``.
        baseline: scores to compare the run with.

    Raises:
        FusionError: the folder is not a finished run or ensemble.
    """
    from ....fusion.training import cards

    ensemble = (path / ENSEMBLE).exists() and not (path / cards.NAME).exists()
    run = _ensemble(path) if ensemble else _run(path)
    group = run.detailed_group
    if group is None:
        return run
    clips = select_clips(group.scores)
    shown = [clip.key for clip in clips]
    with progress_bar(total=len(shown) + STEPS, desc=run.name, unit="step") as bar:
        insights = collect_insights(path, run.card, store, group.scores.clips, shown, bar.update)
        bar.update(bar.total - bar.n)
    comparison = BaselineComparison.of(baseline, group.scores) if baseline and run.groups else None
    return replace(run, clips=clips, insights=insights, comparison=comparison)


def _run(path: Path) -> RunResults:
    from ....fusion.errors import FusionError
    from ....fusion.evaluation.tables import number, read_table
    from ....fusion.training import cards
    from ....fusion.training.runs import Run

    card = cards.read(path)
    if not any(path.glob("scores*.csv")):
        raise FusionError(f"{path} has no scores yet; run its avemo-fuse {card.kind} again to finish it")
    member = read_member(path)
    labelled = member.scores.labelled
    faceless = {tuple(clip) for clip in card.facts.get("without_face", [])}
    if card.kind == "cv":
        marks = f" ({labelled.marks_cell})" if labelled.marks else ""
        groups = [_group(f"held-out clips{marks}", labelled, False, faceless)] if labelled.clips else []
        table = read_table(path / "results.csv", ["accuracy"], "seed,accuracy,uar")
        accuracies = [number(path / "results.csv", row, "accuracy") for row in table.rows]
        return RunResults(path.name, card, groups, accuracies, _unlabelled(member.scores))
    groups = _by_split(labelled, member.trained_on, faceless)
    run = Run(path)
    histories = [run.history(number) for number in range(run.members)]
    accuracies = [value for history in histories if (value := history[-1].val_accuracy) is not None]
    if run.calibration:
        card = replace(card, facts={**card.facts, "calibration": str(run.calibration)})
    return RunResults(path.name, card, groups, accuracies, _unlabelled(member.scores), histories)


def _ensemble(path: Path) -> RunResults:
    from ....fusion.errors import FusionError
    from ....fusion.training.cards import Card

    scores = read_member(path).scores
    try:
        record = read_json(path / ENSEMBLE)
        members, fitted, prior = record["members"], {*record["trained_on"]}, record["prior"]
        facts = {"members": len(members), "demo": record["demo"], "marks": scores.marks}
        ensemble_facts: dict[str, object] = {"members": ", ".join(map(str, members))}
        if record["temperature"] is not None:
            ensemble_facts["temperature"] = f"{record['temperature']:.4g}"
        if prior:
            weights = ", ".join(f"{name} {weight:.3f}" for name, weight in prior["weights"].items())
            ensemble_facts |= {"prior": f"{prior['source']}: {prior['note']}", "weights": weights}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise FusionError(
            f"{path / ENSEMBLE} is invalid ({error!r}); run avemo-fuse ensemble again"
        ) from error
    groups = _by_split(scores.labelled, fitted)
    card = Card("ensemble", {}, facts)
    return RunResults(path.name, card, groups, unlabelled=_unlabelled(scores), ensemble_facts=ensemble_facts)


def _by_split(
    labelled: Scores, fitted: Collection[str], faceless: Collection[tuple[str, ...]] = ()
) -> list[Group]:
    """Return a group for each split, ``val`` first."""
    splits = sorted(labelled.splits, key=lambda name: name != "val")
    return [
        _group(split or "all clips", labelled.select(split), split in fitted, faceless) for split in splits
    ]


def _group(name: str, scores: Scores, fitted: bool, faceless: Collection[tuple[str, ...]]) -> Group:
    name = f"{name} (trained on)" if fitted else name
    with_face = [place for place, clip in enumerate(scores.clips) if clip not in faceless]
    if not 0 < len(with_face) < len(scores.clips):
        return Group(name, scores, fitted)
    return Group(name, scores, fitted, Group(f"{name}, clips with a face", scores.take(with_face), fitted))


def _unlabelled(scores: Scores) -> Scores | None:
    chosen = [i for i, truth in enumerate(scores.truth) if truth is None]
    return scores.take(chosen) if chosen else None
