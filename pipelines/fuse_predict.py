"""``avemo-fuse predict``: scores of clips from trained runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from .cli import command
from .fuse_options import demo_note, tell

EXAMPLES = """
\b
Examples:
  avemo-fuse predict runs/default features --out scores.csv --split test
  avemo-fuse predict runs/f-mean runs/f-meanstd --store features --out scores.csv
"""


@command("predict", epilog=EXAMPLES)
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="RUN... [STORE]")
@click.option(
    "--store",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="The feature store, where it does not follow the runs.  [default: features]",
)
@click.option("--split", metavar="NAME", help="Clips of one split only.  [default: all]")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default="scores.csv",
    show_default=True,
    metavar="CSV",
    help="Where the scores go.",
)
@click.option("--device", default="auto", show_default=True, metavar="NAME",
              help="auto, cpu, cuda, cuda:1.")  # fmt: skip
def predict(paths: tuple[Path, ...], store: Path | None, split: str | None, out: Path, device: str) -> None:
    """Score the clips of STORE with the mean of all members of each RUN.

    The clips must have been extracted with the settings that the runs were trained on.
    """
    runs, store = divide(paths, store)
    from ..cache.store import FeatureStore
    from ..fusion.runs import Run
    from ..fusion.runs import predict as mean_of_members

    with FeatureStore(store) as opened:
        rows = [row for row in opened.rows if split in (None, row.clip.split)]
        if not rows:
            have = ", ".join(sorted({row.clip.split for row in opened.rows})) or "no clips"
            raise click.UsageError(f"{store} has no clips of split {split!r}; it has {have}")
        loaded = [Run(path) for path in runs]
        scores = mean_of_members(loaded, opened, rows, device)
    scores.write(out)
    members = sum(run.members for run in loaded)
    tell(
        [
            ("scored", f"clips: {len(rows)}; runs: {len(loaded)}; members averaged: {members}"),
            ("wrote", str(out)),
        ]
    )
    note = demo_note(rows)
    if note:
        click.echo(note)


def divide(paths: Sequence[Path], store: Path | None) -> tuple[list[Path], Path]:
    """The runs among ``paths``, and the store: the one that is none, or else ``store``, or ``features``."""
    runs = [path for path in paths if (path / "run.json").exists()]
    others = [path for path in paths if path not in runs] + ([store] if store else [])
    if len(others) > 1:
        raise click.UsageError(
            f"{', '.join(map(str, others))}: one store expected; runs are folders with a run.json"
        )
    if not runs:
        raise click.UsageError(
            f"{', '.join(map(str, paths))}: no run among these (a folder with a run.json); avemo-fuse train "
            "makes one"
        )
    return runs, (others or [Path("features")])[0]
