"""``avemo-fuse mix "2am-fbp + 4g-fbp"``: several heads of several kinds, trained and averaged."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import click

from ..cli.console import Console, tell
from ..cli.framework import command, given, group, keep_result, with_options_of
from ..cli.fuse.options import FEATURES_HELP, read, refuse
from ..cli.fuse.train import train
from ..cli.outputs import refuse_existing
from .notes import demo_note
from .settings import TrainSettings

PART = re.compile(r"(\d*) *\*? *([a-z][a-z-]*)")
PAPER = "2am-fbp + 4g-fbp"

EXAMPLES = (
    """
\b
Examples:
  avemo-fuse mix "2am-fbp + 4g-fbp" --preset zhou2021 --out runs/zhou2021
  avemo-fuse mix "4g-fbp" --fit-on train+val --out runs/submission
  avemo-fuse ensemble runs/zhou2021/scores-test.csv --prior train --out submission --zip MyTeam
"""
    + FEATURES_HELP
)


@with_options_of(train, without=("out", "fusion", "members", "grid", "choose_grid"))
@command("mix", epilog=EXAMPLES)
@click.argument("heads", default=PAPER)
@group(
    "Output",
    click.option(
        "--out",
        type=click.Path(path_type=Path),
        default="runs/mix",
        show_default=True,
        metavar="DIR",
        help="Folder for a run of each kind of head and scores-SPLIT.csv, the mean of all members.",
    ),
)
def mix(heads: str, out: Path, **options: Any) -> None:
    """Train so many members of each kind of head, and average the scores of all.

    HEADS says how many of which: "2am-fbp + 4g-fbp", the ensemble of zhou2021 (table V), is the default.
    Each member counts alike. A mix that was stopped goes on with the same command.
    """
    from ...fusion.evaluation.ensemble import average
    from ...fusion.files import as_file_name
    from .acting import for_rows
    from .train import begin, finish

    wanted = kinds(heads)
    shared, preset = read(TrainSettings, {**options, "members": 1, "grid": None, "choose_grid": "all"})
    rows = [{"fusion": name, "members": count, "out": out / name} for name, count in wanted.items()]
    every, idle = for_rows(shared, given() | {*shared.head}, preset, rows, "head")
    refuse(idle, shared.head)
    own = next((out / fusion for fusion in wanted if (out / fusion).exists()), None)
    refuse_existing(out.glob("scores-*.csv"), shared.overwrite, unless=own)
    # all of them before the first is trained
    begun = [begin(settings, Console()) for settings in every]
    done = [finish(each, Console()) for each in begun]
    members = [scores for each in done for scores in each.members]
    prepared = begun[0].prepared
    mean = average(members)
    for split in mean.splits:
        mean.select(split).write(out / f"scores-{as_file_name(split)}.csv")
    note = demo_note(prepared.rows)
    click.echo(f"\n{note}" if note else "")
    files = ", ".join(f"scores-{split}.csv" for split in mean.splits)
    keep_result(out=str(out), members=len(members))
    tell([("wrote", f"{out}: {files}, the mean of {len(members)} members")])


def kinds(text: str) -> dict[str, int]:
    """``2am-fbp + 4g-fbp`` as head → how many.

    Raises:
        UsageError: it is not of that form.
    """
    found: dict[str, int] = {}
    for part in text.split("+"):
        match = PART.fullmatch(part.strip())
        if not match or match[1] == "0":
            raise click.UsageError(
                f"{part.strip()!r} in {text!r}: expected how many of which head, as in {PAPER!r}"
            )
        found[match[2]] = found.get(match[2], 0) + int(match[1] or 1)
    return found
