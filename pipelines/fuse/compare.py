"""``avemo-fuse compare``: test whether one set of scores is better than another."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..cli.console import tell
from ..cli.framework import command, json_result, tell_result, wants_json
from ..cli.table import aligned
from .ensemble import read_member, select

if TYPE_CHECKING:
    from ...fusion.evaluation.comparison import MatchedScores
    from ...fusion.evaluation.metrics import Summary
    from ...fusion.evaluation.scores import Scores
    from ...fusion.evaluation.significance import MatchedPair, McNemar

MEMBER = re.compile(r"member-(\d+)")

EXAMPLES = """
\b
Examples:
  avemo-fuse compare concat.csv fbp.csv
  avemo-fuse compare runs/cv-concat runs/cv-fbp
  avemo-fuse compare a/scores-val.csv b/scores-val.csv --json

\b
one-tailed p  chance of a lead of B at least as large, if B were not better
two-tailed p  chance of a difference at least as large either way, if there were none
Both tests assume independent clips; clips of one person are not quite independent.
"""


@dataclass(frozen=True)
class Side:
    """One of the two sets of scores.

    Attributes:
        name: name of the file or run.
        scores: scores of all clips compared.
        members: scores of each member; empty unless the side is a run.
        trained: number of clips left out because one of the two sides was trained on them.
    """

    name: str
    scores: Scores
    members: Sequence[Scores]
    trained: int


@dataclass(frozen=True)
class Comparison:
    """The outcome: figures of both, and the tests.

    ``members`` is the matched-pair test for a single member, on errors averaged over the members.
    """

    first: Summary
    second: Summary
    matched_pair: MatchedPair
    mcnemar: McNemar
    members: MatchedPair | None


@command("compare", epilog=EXAMPLES)
@click.argument("first", type=click.Path(path_type=Path), metavar="A")
@click.argument("second", type=click.Path(path_type=Path), metavar="B")
@click.option(
    "--split", metavar="NAME", help="Clips of this split only.  [default: all that neither was trained on]"
)
@json_result
def compare(first: Path, second: Path, split: str | None) -> None:
    """Test whether B is better than A on the labelled clips that both score.

    A and B are CSVs of scores, or folders of runs. Clips are matched by split and id. The matched-pair test
    (Pallett, Fisher & Fiscus 1990) and McNemar's exact test compare the two clip by clip. If both are runs
    with several members, the matched-pair test is also made for a single member, on errors averaged over all
    members.
    """
    from ...fusion.evaluation.comparison import match

    sides = _sides((first, second), split)
    matched = match(*(side.scores for side in sides))
    results = _test(sides, matched)
    for warning in _warnings(sides, matched):
        click.echo(f"warning: {warning}", err=True)
    if wants_json():
        tell_result(_as_json(sides, matched, results))
    else:
        _print(sides, matched, results)


def _sides(paths: Sequence[Path], split: str | None) -> list[Side]:
    """Return the scores at ``paths``: of ``split``, else of all splits that neither was trained on."""
    found = [read_member(path) for path in paths]
    fitted = {name for member in found for name in member.trained_on}
    if split in fitted:
        click.echo(f"warning: {split} was trained on, so the tests say nothing about other clips", err=True)
    sides = []
    for path, member in zip(paths, found, strict=True):
        kept = [i for i, clip in enumerate(member.scores.clips) if split or clip[0] not in fitted]
        scores = select(member.scores, split) if split else member.scores.take(kept)
        left_out = 0 if split else len(member.scores.clips) - len(kept)
        sides.append(Side(member.name, scores, _members(path), left_out))
    return sides


def _members(folder: Path) -> list[Scores]:
    """Return the scores of each member of a run, over all splits."""
    from ...fusion.evaluation.scores import Scores, joined

    files: dict[str, list[Path]] = defaultdict(list)
    for file in sorted(folder.glob("member-*.csv")) if folder.is_dir() else ():
        found = MEMBER.match(file.stem)
        if found:
            files[found[1]].append(file)
    return [joined(map(Scores.read, own)) for own in files.values()]


def _test(sides: Sequence[Side], matched: MatchedScores) -> Comparison:
    from ...fusion.evaluation.comparison import errors
    from ...fusion.evaluation.metrics import summary
    from ...fusion.evaluation.significance import matched_pair, mcnemar

    first, second = matched.first, matched.second
    wrong = errors([first], first), errors([second], second)
    members = None
    if min(len(side.members) for side in sides) > 1:
        a, b = (errors(side.members, first) for side in sides)
        members = matched_pair(a, b)
    exact = mcnemar(wrong[0] == 0, wrong[1] == 0)
    return Comparison(summary(first), summary(second), matched_pair(*wrong), exact, members)


def _warnings(sides: Sequence[Side], matched: MatchedScores) -> Iterator[str]:
    for name, side, count in zip("AB", sides, (matched.only_first, matched.only_second), strict=True):
        if side.trained:
            yield f"clips of {name} that one of the two was trained on, left out: {side.trained}"
        if count:
            yield f"clips only in {name}, left out: {count}"
    if matched.unlabelled:
        yield f"clips of both without a true class, left out: {matched.unlabelled}"
    marks = [side.scores.marks_cell or "not marked" for side in sides]
    if marks[0] != marks[1]:
        yield f"A is {marks[0]}, B is {marks[1]}: the two did not have the same information"


def _print(sides: Sequence[Side], matched: MatchedScores, results: Comparison) -> None:
    names = [side.name + (f" ({side.scores.marks_cell})" if side.scores.marks else "") for side in sides]
    tell([*zip("AB", names, strict=True), ("matched", f"{results.first.clips} labelled clips")])
    figures = [
        [name, own.accuracy, own.uar, own.macro_f1]
        for name, own in zip("AB", (results.first, results.second), strict=True)
    ]
    click.echo("\n" + aligned(["", "accuracy", "UAR", "macro F1"], figures) + "\n")
    pair, exact, members = results.matched_pair, results.mcnemar, results.members
    rows: list[list[object]] = [
        _row("matched pair", pair),
        [
            "McNemar, exact",
            f"A alone right {exact.only_first}, B {exact.only_second}",
            None,
            *map(_p, (exact.one_tailed, exact.two_tailed)),
        ],
    ]
    if members:
        counts = " and ".join(str(count) for count in dict.fromkeys(len(side.members) for side in sides))
        rows.append(_row(f"matched pair, one member (mean of {counts})", members))
    click.echo(aligned(["test", "accuracy, B - A", "Z", "one-tailed p", "two-tailed p"], rows))


def _row(name: str, pair: MatchedPair) -> list[object]:
    low, high = pair.interval
    lead = f"{pair.difference:+.3f} (95 % {low:+.3f} to {high:+.3f})"
    return [name, lead, pair.z, *map(_p, (pair.one_tailed, pair.two_tailed))]


def _p(value: float) -> str:
    return f"{value:.3f}" if value >= 0.001 else f"{value:.1e}"


def _as_json(sides: Sequence[Side], matched: MatchedScores, results: Comparison) -> dict[str, Any]:
    found: dict[str, Any] = {"clips": results.first.clips}
    for name, side, own in zip(("first", "second"), sides, (results.first, results.second), strict=True):
        found[name] = {
            "scores": side.name,
            "marks": list(side.scores.marks),
            "members": len(side.members),
            "accuracy": own.accuracy,
            "uar": own.uar,
            "macro_f1": own.macro_f1,
        }
    left_out = ("only_first", "only_second", "unlabelled")
    found["left_out"] = {name: getattr(matched, name) for name in left_out}
    found["matched_pair"] = _plain(asdict(results.matched_pair))
    found["mcnemar"] = asdict(results.mcnemar)
    if results.members:
        found["matched_pair_one_member"] = _plain(asdict(results.members))
    return found


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    """Replace infinities by None, because JSON has none: a Z without bounds is null."""
    return {
        name: None if isinstance(value, float) and math.isinf(value) else value
        for name, value in values.items()
    }
