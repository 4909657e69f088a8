"""``avemo-fuse ensemble``: many sets of scores to one prediction and a submission."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .cli import command
from .priors import choose
from .table import aligned

if TYPE_CHECKING:
    from ..fusion.cards import Card
    from ..fusion.priors import Prior
    from ..fusion.scores import Scores

EXAMPLES = """
\b
Examples:
  avemo-fuse ensemble runs/f-mean runs/f-meanstd --prior train --out ensemble
  avemo-fuse ensemble a.csv b.csv --prior weights.csv --split test --out ensemble --zip MyTeam

\b
--prior multiplies the mean scores by class weights (zhou2019 section 3):
  none        as they are
  train       square roots of the training labels' counts
  FILE        a CSV of class,weight or class,count (of which the square root
              is taken), or a JSON object of weights
  emotiw2019  square roots of the counts of EmotiW 2019's test labels
"""


ALL = "all"


@dataclass(frozen=True)
class Member:
    """Scores that go into the ensemble, and the card of the run that made them, where there is one."""

    name: str
    scores: Scores
    card: Card | None = None

    @property
    def trained_on(self) -> list[str]:
        return self.card.settings.get("fit_on", "").split("+") if self.card else []

    @property
    def train_counts(self) -> Mapping[str, int] | None:
        return self.card.facts.get("train_counts") if self.card else None

    @property
    def note(self) -> str:
        """What must be said wherever its scores are shown."""
        return (self.card.facts.get("demo") or "") if self.card else ""


@command("ensemble", epilog=EXAMPLES)
@click.argument(
    "members", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="SCORES_OR_RUN..."
)
@click.option(
    "--prior",
    "source",
    default="none",
    show_default=True,
    metavar="SOURCE",
    help="none, train, emotiw2019 or a file of class weights.",
)
@click.option(
    "--counts",
    type=click.Path(path_type=Path),
    metavar="CSV",
    help="Training clips of each class (class,count), where the runs do not tell.",
)
@click.option("--split", metavar="NAME", help="Which clips; or all.  [default: test, else val, else all]")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Where scores.csv and submission.csv go; without it nothing is written.",
)
@click.option("--zip", "team", metavar="TEAM", help="Write TEAM.zip there too: a text file a clip.")
def ensemble(
    members: tuple[Path, ...],
    source: str,
    counts: Path | None,
    split: str | None,
    out: Path | None,
    team: str | None,
) -> None:
    """Average class scores, by the names of clips and classes.

    Each SCORES_OR_RUN is a CSV of scores or the folder of a run.
    """
    if team and not out:
        raise click.UsageError("--zip needs a folder to write to: add --out DIR")
    from ..fusion.priors import counts_from_file

    read = [_read(path) for path in members]
    prior = choose(source, counts_from_file(counts) if counts else _train_counts(read, source))
    chosen = _of_split(read, split or _default_split(read))
    final = _weighted(_mean(chosen).scores, prior)
    _say_prior(source, prior)
    _say_results(chosen, prior)
    if not final.labelled.clips and _can_validate(read):
        _say_results(_of_split(read, "val"), prior)
    for note in sorted({member.note for member in read} - {""}):
        click.echo(note)
    if out:
        _write(final, out, team)


def _read(path: Path) -> Member:
    """The scores of a file, or of all splits of a run folder."""
    from ..fusion.scores import Scores, joined

    if not path.is_dir():
        return Member(str(path), Scores.read(path))
    from ..fusion import cards

    files = sorted(path.glob("scores*.csv"))
    if not files:
        raise click.UsageError(f"{path} holds no scores*.csv; name the folder of a run, or a CSV of scores")
    card = cards.read(path) if (path / cards.NAME).exists() else None
    return Member(str(path), joined(map(Scores.read, files)), card)


def _train_counts(members: Sequence[Member], source: str) -> Mapping[str, int] | None:
    """The class counts that all members share, where ``source`` asks for them."""
    known = [member for member in members if member.train_counts]
    if source != "train" or not known:
        return None
    for member in known[1:]:
        if member.train_counts != known[0].train_counts:
            raise click.UsageError(
                f"{known[0].name} and {member.name} were trained on different clips ({known[0].train_counts} "
                f"and {member.train_counts}); say by --counts whose class counts to use"
            )
    return known[0].train_counts


def _default_split(members: Sequence[Member]) -> str:
    """Test, or else val, where all members that name splits have it; or else all clips."""
    naming = [set(member.scores.splits) for member in members if any(member.scores.splits)]
    common = set.intersection(*naming) if naming else set()
    return next((name for name in ("test", "val") if name in common), ALL)


def _can_validate(members: Sequence[Member]) -> bool:
    """Whether all members score validation clips that none was trained on."""
    return all("val" in member.scores.splits and "val" not in member.trained_on for member in members)


def _of_split(members: Sequence[Member], split: str) -> list[Member]:
    """The members' clips of ``split``; scores that name no split are taken to be of it."""
    if split == ALL:
        return list(members)
    return [replace(member, scores=_select(member.scores, split)) for member in members]


def _select(scores: Scores, split: str) -> Scores:
    return scores.select(split) if any(scores.splits) else scores.in_split(split)


def _mean(members: Sequence[Member]) -> Member:
    from ..fusion.ensemble import average

    names = [member.name for member in members]
    return Member(f"mean of {len(members)}", average([member.scores for member in members], names=names))


def _weighted(scores: Scores, prior: Prior | None) -> Scores:
    from ..fusion.priors import reweight

    return reweight(scores, prior.weights) if prior else scores


def _say_prior(source: str, prior: Prior | None) -> None:
    if prior:
        weights = ", ".join(f"{name} {weight:.3f}" for name, weight in prior.weights.items())
        click.echo(f"prior {source}: {prior.note}\n  {weights}")


def _say_results(members: Sequence[Member], prior: Prior | None) -> None:
    """Accuracy and unweighted average recall of members and mean, before the prior and after it."""
    mean = _mean(members)
    labelled = len(mean.scores.labelled.clips)
    splits = ", ".join(mean.scores.splits) or "none named"
    click.echo(f"\nsplit {splits}: {len(mean.scores.clips)} clips, {labelled} of them labelled")
    seen = {split for member in members for split in member.trained_on} & {*mean.scores.splits}
    if labelled and seen:
        click.echo(
            f"trained on {' and '.join(sorted(seen))}: figures over these clips tell nothing of others"
        )
    if labelled:
        header = ["", "accuracy", "UAR"] + (["with prior: accuracy", "UAR"] if prior else [])
        rows = [[member.name, *_figures(member.scores, mean.scores, prior)] for member in [*members, mean]]
        click.echo(aligned(header, rows))
    else:
        click.echo("no true classes are known here, so no accuracy can be told")


def _figures(scores: Scores, known: Scores, prior: Prior | None) -> list[float]:
    """Accuracy and unweighted average recall against the true classes in ``known``, which has all of them."""
    from ..fusion.metrics import summary

    truth = dict(zip(known.clips, known.truth, strict=True))
    scores = replace(scores, truth=tuple(truth[clip] for clip in scores.clips))
    variants = [scores, _weighted(scores, prior)] if prior else [scores]
    return [figure for found in map(summary, variants) for figure in (found.accuracy, found.uar)]


def _write(scores: Scores, out: Path, team: str | None) -> None:
    from ..fusion.submission import write_challenge_zip, write_submission

    written = [write_challenge_zip(scores, out, team)] if team else []
    written += [out / "submission.csv", out / "scores.csv"]
    write_submission(scores, out / "submission.csv")
    scores.write(out / "scores.csv")
    for path in written:
        click.echo(f"wrote {path}")
