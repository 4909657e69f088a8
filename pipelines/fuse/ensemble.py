"""Average sets of scores into one prediction and a submission."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..cli.framework import keep_result
from ..cli.table import aligned, records
from .notes import unscored_note
from .priors import EM, REESTIMATED, weighting
from .settings import EnsembleSettings

if TYPE_CHECKING:
    from ...fusion.evaluation.priors import Prior
    from ...fusion.evaluation.scores import Scores
    from ...fusion.training.cards import Card

ALL, VAL, AUTO = "all", "val", "auto"
ENSEMBLE = "ensemble.json"


@dataclass(frozen=True)
class EnsembleMember:
    """Scores that go into the ensemble.

    Attributes:
        name: name shown: the path of the file or run.
        scores: the scores.
        card: card of the run that made them; None for a CSV.
        trained_on: splits that the run was trained on.
    """

    name: str
    scores: Scores
    card: Card | None = None
    trained_on: tuple[str, ...] = ()

    @property
    def train_counts(self) -> Mapping[str, int] | None:
        return self.card.facts.get("train_counts") if self.card else None

    @property
    def note(self) -> str:
        """Note to show wherever the scores are shown; empty if none."""
        return (self.card.facts.get("demo") or "") if self.card else ""


@dataclass(frozen=True)
class Finish:
    """What is done to mean scores: a temperature, then a prior.

    Attributes:
        source: name of the prior.
        prior: function from calibrated scores to the prior, or None for none.
        temperature: temperature; None to leave scores as they are.
        by_val: whether one of the two was fitted on the labels of the split val.
    """

    source: str
    prior: Callable[[Scores], Prior | None]
    temperature: float | None
    by_val: bool

    def calibrated(self, scores: Scores) -> Scores:
        """Return the scores at the temperature."""
        from ...fusion.evaluation.calibration import tempered

        return scores if self.temperature is None else tempered(scores, self.temperature)

    def weighted(self, scores: Scores, prior: Prior | None) -> Scores:
        """Return calibrated scores times the prior's weights."""
        from ...fusion.evaluation.priors import reweight

        weighted = reweight(scores, prior.weights) if prior else scores
        return weighted.marked(REESTIMATED) if self.source == EM else weighted


def ensemble(settings: EnsembleSettings) -> Scores:
    """Average class scores, matching clips and classes by name; calibrate, re-weight and write them.

    Raises:
        UsageError: the members do not allow what the settings ask for.
        FusionError: scores cannot be read or do not match, or a prior cannot be used.
    """
    from ...fusion.evaluation.priors import counts_from_file

    source, out = settings.prior, settings.out
    read = [read_member(path) for path in settings.members]
    train_counts = counts_from_file(settings.counts) if settings.counts else _train_counts(read, source)
    val_counts = _val_counts(read) if source == VAL else None
    prior, degree = weighting(source, train_counts, val_counts), _temperature(settings.temperature, read)
    by_val = source == VAL or (degree is not None and settings.temperature in (AUTO, VAL))
    finish = Finish(source, prior, degree, by_val)
    chosen = _of_split(read, settings.split or _default_split(read))
    final = _say_results(chosen, finish)
    if not final.labelled.clips and can_validate(read):
        _say_results(_of_split(read, VAL), finish)
    if can_validate(read):
        _say_harm(_mean(_of_split(read, VAL)).scores, finish)
    for note in sorted({member.note for member in read} - {""}):
        click.echo(note)
    if out:
        _write(final, out, settings.team)
        _describe(chosen, finish, out)
    return final


def _describe(members: Sequence[EnsembleMember], finish: Finish, out: Path) -> None:
    """Record how the scores in ``out`` were made, for `avemo-fuse report`."""
    from ...fusion.files import write_json

    prior = finish.prior(finish.calibrated(_mean(members).scores))
    told = {
        "members": [member.name for member in members],
        "trained_on": sorted({split for member in members for split in member.trained_on}),
        "demo": next((member.note for member in members if member.note), ""),
        "temperature": finish.temperature,
        "prior": prior and {"source": finish.source, "note": prior.note, "weights": dict(prior.weights)},
    }
    write_json(out / ENSEMBLE, told)


def read_member(path: Path) -> EnsembleMember:
    """Read the scores of a file, or of all splits of a run folder."""
    from ...fusion.evaluation.scores import Scores, joined

    if not path.is_dir():
        return EnsembleMember(str(path), Scores.read(path))
    from ...fusion.training import cards

    files = sorted(path.glob("scores*.csv"))
    if not files:
        raise click.UsageError(f"{path} holds no scores*.csv; name the folder of a run, or a CSV of scores")
    scores = joined(map(Scores.read, files))
    if not (path / cards.NAME).exists():
        return EnsembleMember(str(path), scores)
    card = cards.read(path)
    fitted = tuple(card.settings["fit_on"].split("+")) if "fit_on" in card.settings else ()
    # if all clips are of one split, it was fitted, whatever its name
    return EnsembleMember(
        str(path), scores, card, scores.splits if fitted and len(scores.splits) == 1 else fitted
    )


def _train_counts(members: Sequence[EnsembleMember], source: str) -> Mapping[str, int] | None:
    """Return the class counts that all members share, if ``source`` needs them."""
    known = [member for member in members if member.train_counts]
    if source not in ("train", EM) or not known:
        return None
    for member in known[1:]:
        if member.train_counts != known[0].train_counts:
            raise click.UsageError(
                f"{known[0].name} and {member.name} were trained on different clips ({known[0].train_counts} "
                f"and {member.train_counts}); give the class counts to use with --counts"
            )
    return known[0].train_counts


def _val_counts(members: Sequence[EnsembleMember]) -> Mapping[str, int] | None:
    """Count the labelled clips of each class in the split ``val``; None unless all members have it."""
    if not all(VAL in member.scores.splits for member in members):
        return None
    mean = _mean(_of_split(members, VAL)).scores
    counts = Counter(name for name in mean.truth if name)
    return {name: counts[name] for name in mean.classes} if counts else None


def _temperature(text: str, members: Sequence[EnsembleMember]) -> float | None:
    """Return the temperature that ``text`` asks for."""
    from ...fusion.evaluation.calibration import Calibration

    runs = all(member.card for member in members)  # a CSV does not say what its model was trained on
    if text == "none" or (text == AUTO and not (runs and can_validate(members))):
        return None
    if text not in (AUTO, VAL):
        try:
            return float(text)
        except ValueError:
            raise click.UsageError(f"--temperature {text!r}: auto, val, none or a number expected") from None
    if not can_validate(members):
        raise click.UsageError(
            "--temperature val needs labelled clips of the split val in the scores of every member, and no "
            "member that was trained on them; give a number, or none"
        )
    fitted = Calibration.fitted(_mean(_of_split(members, VAL)).scores, VAL)
    click.echo(f"calibrated: {fitted}")
    return fitted.temperature


def _default_split(members: Sequence[EnsembleMember]) -> str:
    """Return test, else val, if all members with named splits have it; else all."""
    naming = [set(member.scores.splits) for member in members if any(member.scores.splits)]
    common = set.intersection(*naming) if naming else set()
    return next((name for name in ("test", "val") if name in common), ALL)


def can_validate(members: Sequence[EnsembleMember]) -> bool:
    """Whether all members score labelled validation clips that none was trained on."""
    return all(
        VAL in member.scores.splits and VAL not in member.trained_on and any(member.scores.select(VAL).truth)
        for member in members
    )


def _of_split(members: Sequence[EnsembleMember], split: str) -> list[EnsembleMember]:
    """Select the members' clips of ``split``; scores without splits are assumed to be of it."""
    if split == ALL:
        return list(members)
    return [replace(member, scores=select(member.scores, split)) for member in members]


def select(scores: Scores, split: str) -> Scores:
    """Select the clips of ``split``; all of them if no splits are named."""
    return scores.select(split) if any(scores.splits) else scores.in_split(split)


def _mean(members: Sequence[EnsembleMember]) -> EnsembleMember:
    from ...fusion.evaluation.ensemble import average

    names = [member.name for member in members]
    return EnsembleMember(
        f"mean of {len(members)}", average([member.scores for member in members], names=names)
    )


def _say_results(members: Sequence[EnsembleMember], finish: Finish) -> Scores:
    """Print the figures of members and mean, plain and finished; return the finished mean."""
    mean = _mean(members)
    calibrated = finish.calibrated(mean.scores)
    prior = finish.prior(calibrated)
    final = finish.weighted(calibrated, prior)
    labelled = len(final.labelled.clips)
    splits = ", ".join(final.splits) or "none named"
    marks = f" ({final.marks_cell})" if final.marks else ""
    click.echo(f"\nsplit {splits}: {len(final.clips)} clips, {labelled} of them labelled{marks}")
    if prior:
        weights = ", ".join(f"{name} {weight:.3f}" for name, weight in prior.weights.items())
        keep_result(prior={"source": finish.source, "weights": dict(prior.weights)})
        click.echo(f"prior {finish.source}: {prior.note}\n  weights {weights}")
    seen = {split for member in members for split in member.trained_on} & {*final.splits}
    if labelled and seen:
        click.echo(
            f"trained on {' and '.join(sorted(seen))}: figures over these clips say nothing about others"
        )
    if labelled and finish.by_val and VAL in final.splits:
        click.echo("prior or temperature was fitted on these clips: the finished figures are optimistic")
    note = unscored_note(final)
    if note:
        click.echo(note)
    if labelled:
        header = ["", "accuracy", "UAR"] + (["with prior: accuracy", "UAR"] if prior else [])
        rows = [
            [member.name, *_figures(member.scores, mean.scores, finish, prior)] for member in [*members, mean]
        ]
        named = ["name", "accuracy", "uar", "accuracy_with_prior", "uar_with_prior"][: len(header)]
        keep_result(figures={splits: records(named, rows)})
        click.echo(aligned(header, rows))
        click.echo(_calibration(mean.scores, final))
    else:
        click.echo("no true classes are known, so there is no accuracy")
    return final


def _say_harm(scores: Scores, finish: Finish) -> None:
    """Warn if the prior lowers the accuracy on these validation clips."""
    from ...fusion.evaluation.metrics import summary

    calibrated = finish.calibrated(scores)
    prior = finish.prior(calibrated)
    before, after = (summary(each).accuracy for each in (calibrated, finish.weighted(calibrated, prior)))
    if after < before:
        click.echo(
            f"warning: the prior {finish.source} lowers accuracy on val from {before:.3f} to {after:.3f}; "
            "use --prior none, unless the clips to be scored are known to have its class shares"
        )


def _figures(scores: Scores, known: Scores, finish: Finish, prior: Prior | None) -> list[float]:
    """Return accuracy and unweighted average recall against the true classes in ``known``, which has all."""
    from ...fusion.evaluation.metrics import summary

    truth = dict(zip(known.clips, known.truth, strict=True))
    scores = replace(scores, truth=tuple(truth[clip] for clip in scores.clips))
    variants = [scores, finish.weighted(finish.calibrated(scores), prior)] if prior else [scores]
    return [figure for found in map(summary, variants) for figure in (found.accuracy, found.uar)]


def _calibration(before: Scores, after: Scores) -> str:
    from ...fusion.evaluation.calibration import BINS, expected_calibration_error

    errors = [expected_calibration_error(scores) for scores in (before, after)]
    changed = f", finished {errors[1]:.3f}" if after.values is not before.values else ""
    return f"expected calibration error of the mean ({BINS} bins): {errors[0]:.3f}{changed}"


def outputs(out: Path, team: str | None) -> list[Path]:
    """Return the files that an ensemble writes."""
    zipped = [out / f"{team}.zip"] if team else []
    return [*zipped, out / "submission.csv", out / "scores.csv", out / ENSEMBLE]


def _write(scores: Scores, out: Path, team: str | None) -> None:
    from ...fusion.evaluation.submission import write_challenge_zip, write_submission

    written = [write_challenge_zip(scores, out, team)] if team else []
    written += [out / "submission.csv", out / "scores.csv"]
    write_submission(scores, out / "submission.csv")
    scores.write(out / "scores.csv")
    keep_result(wrote=[str(path) for path in written])
    for path in written:
        click.echo(f"wrote {path}")
