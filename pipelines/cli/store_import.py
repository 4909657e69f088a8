"""``avemo store import``: import per-frame features made elsewhere into a feature store."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ...cache.clips import Clip
from ..corpora.clips.found import ONLY_SPLIT, count_of, first_of
from .framework import InputError, altered, command, group
from .options import store_option
from .progress import progress_bar

if TYPE_CHECKING:
    from ...cache.arrays import Arrays
    from ...cache.imports import Import, Matches
    from ...cache.store import FeatureStore

MAP_COLUMNS = ("file", "clip", "split", "label", "subject")

EXAMPLES = """
\b
FEATURES is one of
  a folder of .npy files, one per clip   fgnet/000046280.npy, fgnet/train/000046280.npy
  an HDF5 file, a data set per clip      /000046280, /train/000046280
  an .npz file, an array per clip        numpy.savez("fgnet.npz", **{"train/000046280": values})
Each array is [frames, values]. A row of NaN is a frame without a vector (no face, for example) and is skipped
when the feature is read. A file's name is the clip's id. If two splits have the same id, tell them apart by
a folder (group) named like the split, or by --map: a CSV with the columns file, clip and, as needed, split.

\b
Examples:
  avemo store import fgnet/ --name fgnet --note "FG-Net, 1024 values"
  avemo store import fgnet.h5 --store features --name fgnet --map clips.csv
  avemo store import openface/ --name openface --vectors any --fps 25
  avemo store import videomae.npz --name videomae --vectors one
  avemo store import fgnet/ --name fgnet --store bare --map labels.csv --add-clips
  avemo-fuse train --visual basic:fgnet

\b
Exit code: 0 done; 1 done, but some arrays could not be used (each is named with its
reason); 2 wrong arguments or input; 130 interrupted (the same command continues).
"""


@command("import", epilog=EXAMPLES)
@click.argument("features", type=click.Path(path_type=Path))
@group(
    "Clips",
    click.option(
        "--map",
        "table",
        type=click.Path(path_type=Path),
        metavar="CSV",
        help="Clip of each file: columns file, clip and, as needed, split, label, subject.",
    ),
    click.option(
        "--add-clips",
        is_flag=True,
        help="Add clips of the map that the store lacks; create the store if there is none.",
    ),
)
@group(
    "Features",
    click.option("--name", required=True, metavar="NAME", help="Name for the features' backbone."),
    click.option(
        "--vectors",
        "frames",
        type=click.Choice(["same", "any", "one"]),
        default="same",
        show_default=True,
        help="Vectors per clip: same (one per frame in the store), any (at another rate), or one (may be "
        "given as [values]).",
    ),
    click.option(
        "--fps",
        type=click.FloatRange(min=0, min_open=True),
        metavar="RATE",
        help="Vectors per second.  [default: at the times of the store's frames, or evenly over them]",
    ),
    click.option("--note", metavar="TEXT", help="How the features were made; kept with them and each run."),
)
@group(
    "Output",
    altered(store_option, help="Feature store to add to."),
    click.option("--replace", is_flag=True, help="Replace features of that name."),
)  # fmt: skip
def import_(
    features: Path,
    store: Path,
    name: str,
    table: Path | None,
    frames: str,
    fps: float | None,
    note: str | None,
    replace: bool,
    add_clips: bool,
) -> int:
    """Import per-frame features of another program into a store.

    They become the statistic `basic` of a backbone named NAME; train on them with `--visual basic:NAME`.
    Features that are stored already are skipped.
    """
    if add_clips and table is None:
        raise click.UsageError("--add-clips needs --map, a CSV that says which clips there are")
    from ...cache.arrays import open_arrays
    from ...cache.imports import Import, match, match_by_map
    from ...cache.store import FeatureStore

    wanted, problems = ({}, {}) if table is None else read_map(table)
    with open_arrays(features) as arrays, FeatureStore(store, create=add_clips) as opened:
        clips = [row.clip for row in opened.rows]
        if table is None:
            matched = match(arrays.names, clips)
        else:
            matched = match_by_map(arrays.names, wanted, clips, ONLY_SPLIT if add_clips else "")
        matched.refused |= problems
        _need_some(matched, arrays, opened, table)
        work = Import(opened, arrays, matched, name, frames, fps, note, replace)
        return _work(work, arrays, matched, opened)


def _need_some(matched: Matches, arrays: Arrays, store: FeatureStore, table: Path | None) -> None:
    """Raise an error if no array belongs to any clip."""
    if not matched.clips:
        for name, reason in matched.refused.items():
            click.echo(f"failed: {name}: {reason}", err=True)
        clips = [row.clip for row in store.rows]
        held = f"its clips are {first_of(clips)}" if clips else "it has no clips yet"
        remedy = "name them as the clips" if table is None else f"correct {table}"
        raise InputError(
            f"none of {count_of(len(arrays.names), 'array')} in {arrays.path} ({first_of(arrays.names)}) is "
            f"of a clip in {store.path}; {held}; {remedy}, or add the clips of a --map with --add-clips"
        )


def read_map(table: Path) -> tuple[dict[str, Clip], dict[str, str]]:
    """Read a CSV that maps files to clips; return name of an array → clip, and invalid row → problem.

    Raises:
        DatasetError: the CSV cannot be read.
    """
    from ..corpora.tables import table_rows
    from ..errors import DatasetError

    wanted: dict[str, Clip] = {}
    problems: dict[str, str] = {}
    for number, row in table_rows(table, MAP_COLUMNS[:1], DatasetError, MAP_COLUMNS[1:]):
        name = row["file"].removesuffix(".npy").removeprefix("./").lstrip("/")
        clip = Clip(row["clip"], row["split"], "", row["label"] or None, row["subject"] or None)
        where = f"row {number} of {table.name}"
        if row["surplus"]:
            problems[where] = (
                f"has more cells than the first line ('{row['surplus']}'): quote cells that contain commas"
            )
        elif not name or not clip.id:
            problems[where] = "names no file" if not name else f"names no clip for '{name}'"
        elif wanted.setdefault(name, clip) != clip:
            problems[where] = f"gives '{name}' to {clip.id}, and a row before to {wanted[name].id}"
    return wanted, problems


def _work(work: Import, arrays: Arrays, matched: Matches, store: FeatureStore) -> int:
    """Run an import under a progress bar and print its outcome; return the exit code."""

    click.echo(
        f"{arrays.path}: {count_of(len(arrays.names), 'array')}, {work.dimensions} values a vector; "
        f"{store.path}: {count_of(len(store.rows), 'clip')}"
    )
    if work.dropped:
        click.echo(f"other features of that name are dropped from {count_of(len(work.dropped), 'clip')}")
    stored = same = empty = 0
    failures = [f"{name}: {reason}" for name, reason in matched.refused.items()]
    with progress_bar(work, total=len(matched.clips), unit="clip") as bar:
        for line in failures:
            bar.write(f"failed: {line}", file=sys.stderr)
        for taken in bar:
            stored += taken.stored
            same += not taken.stored and not taken.failure
            empty += taken.empty
            if taken.failure:
                failures.append(taken.name)
                bar.write(f"failed: {taken.clip} ({taken.name}): {taken.failure}", file=sys.stderr)
    counts = {"imported": stored, "there already": same, "failed": len(failures)}
    told = ", ".join(f"{count} {what}" for what, count in counts.items() if count)
    click.echo(f"{work.stream}: {told}" + (f"; {empty} without any vector" if empty else ""))
    _tell_rest(matched.unknown, "array", f"of no clip in {store.path}")
    _tell_rest(work.lacking, "clip", f"without an array in {arrays.path}")
    if stored or same:
        name = work.stream.rpartition("/")[0]
        click.echo(f"next: avemo-fuse train --store {store.path} --visual basic:{name}")
    return 1 if failures else 0


def _tell_rest(rest: Sequence[object], noun: str, what: str) -> None:
    if rest:
        click.echo(f"{count_of(len(rest), noun)} {what}: {first_of(rest)}", err=True)
