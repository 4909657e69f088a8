"""``avemo store``: looking after a feature store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..corpora.clips.found import count_of, first_of
from ..store.importing import import_
from ..stores import open_store
from .framework import InputError, command, json_result, tell_result, wants_json
from .outputs import overwrite_option, refuse_existing
from .progress import progress_bar

if TYPE_CHECKING:
    from ...cache.checks import Findings
    from ...cache.clips import Clip
    from ...cache.merge import Merge
    from ...cache.store import FeatureStore

DEFAULT = Path("features")
HDF5 = (".h5", ".hdf5", ".hdf")
store_argument = click.argument("path", metavar="[STORE]", default=DEFAULT, type=click.Path(path_type=Path))


@command("status")
@store_argument
@json_result
def status(path: Path) -> None:
    """Say what is in a store.

    Clips, labels, faces, streams and failures of STORE (default: features).
    """
    from ..store.report import as_text, report

    with open_store(path) as store:
        found = report(store)
    tell_result(found) if wants_json() else click.echo(as_text(found))


@command("verify")
@store_argument
@click.option(
    "--repair",
    is_flag=True,
    help="Take damaged arrays out of the store, so that avemo-extract makes them again; pass over invalid "
    "lines; remove shards that no journal mentions.",
)
@json_result
def verify(path: Path, repair: bool) -> int:
    """See whether a store is whole.

    Reads every array of STORE (default: features) and compares its checksum, and checks each line of its
    journals.

    \b
    Exit code: 0 whole; 1 something is wrong, each named; 2 no such store.
    """
    from ...cache import checks
    from ...cache.store import FeatureStore

    with FeatureStore(path) as store:
        found = checks.inspect(store)
        if repair:
            checks.repair(store, found)
    for row, stream, problem in found.damaged:
        click.echo(f"{row.clip}, {stream}: {problem}", err=True)
    for line in found.senseless:
        click.echo(f"{line}", err=True)
    for shard in found.unused:
        click.echo(f"{shard}: mentioned in no journal; a process was killed before it was", err=True)
    if wants_json():
        tell_result(_verified(store, found, repair))
    else:
        click.echo(_verdict(path, len(store.rows), found, repair))
    return 1 if found else 0


def _verdict(path: Path, clips: int, found: Findings, repaired: bool) -> str:
    if not found:
        return f"{path}: {clips} clips, every array as it was written"
    parts = {"damaged stream": found.damaged, "senseless line": found.senseless, "unused shard": found.unused}
    counts = " and ".join(count_of(len(those), name) for name, those in parts.items() if those)
    if not repaired:
        return f"{path}: {counts}; --repair takes them out of the store"
    again = "; avemo-extract, or avemo store import for what was imported, makes them again"
    return f"{path}: {counts}, repaired{again if found.damaged or found.senseless else ''}"


def _verified(store: FeatureStore, found: Findings, repaired: bool) -> dict[str, Any]:
    return {
        "store": str(store.path),
        "clips": len(store.rows),
        "whole": not found,
        "damaged": [
            {"split": row.clip.split, "clip": row.clip.id, "stream": stream, "problem": problem}
            for row, stream, problem in found.damaged
        ],
        "senseless": [asdict(line) for line in found.senseless],
        "unused": list(found.unused),
        "repaired": repaired,
    }


@command("export")
@click.argument("paths", metavar="[STORE] FILE.h5", nargs=-1, required=True, type=click.Path(path_type=Path))
@overwrite_option
def export(paths: tuple[Path, ...], overwrite: bool) -> None:
    """Write a store into one file.

    FILE.h5 gets all of STORE (default: features) and needs nothing beside it.
    """
    if len(paths) > 2:
        raise click.UsageError(f"{len(paths)} paths given; [STORE] FILE.h5 expected")
    if paths[-1].suffix.lower() not in HDF5:
        is_store = (paths[-1] / "store.json").exists()
        hint = f"; to export that store: avemo store export {paths[-1]} FILE.h5" if is_store else ""
        raise click.UsageError(f"{paths[-1]}: a file to write, ending in {', '.join(HDF5)}, expected{hint}")
    refuse_existing(paths[-1:], overwrite)
    from ...cache.checks import export as write
    from ...cache.store import FeatureStore

    source, target = (DEFAULT, *paths)[-2:]
    with FeatureStore(source) as store:
        count = write(store, target)
    click.echo(f"wrote {target}: {count} clips")


REMOVE_EXAMPLES = """
\b
Examples:
  avemo store remove train/000046280 val/angry/b
  avemo store remove 000046280 --store features
  avemo store remove --gone
"""


@command("remove", epilog=REMOVE_EXAMPLES)
@click.argument("names", metavar="[CLIP]...", nargs=-1)
@click.option("--store", "path", type=click.Path(path_type=Path), default=DEFAULT, show_default=True,
              metavar="DIR", help="The feature store.")  # fmt: skip
@click.option("--gone", is_flag=True, help="Remove all clips whose files are not there any more.")
def remove(names: tuple[str, ...], path: Path, gone: bool) -> None:
    """Remove clips from a store.

    CLIP is an id, or SPLIT/ID. Shards are never changed, so the arrays keep their space; avemo store merge
    NEW STORE makes a store without them.
    """
    if not names and not gone:
        raise click.UsageError("name the clips to remove, as SPLIT/ID or ID, or give --gone")
    with open_store(path) as store:
        clips = [row.clip for row in store.rows]
        chosen = [_the_clip(name, clips, path) for name in names]
        chosen += [clip for clip in clips if gone and clip.path and not Path(clip.path).exists()]
        chosen = list(dict.fromkeys(chosen))
        with store.writer() as writer:
            for clip in chosen:
                writer.remove(clip)
    told = f": {first_of(chosen)}" if chosen else ", as every clip's file is there"
    click.echo(f"{path}: removed {count_of(len(chosen), 'clip')}{told}; {len(clips) - len(chosen)} left")


def _the_clip(name: str, clips: Sequence[Clip], path: Path) -> Clip:
    found = [clip for clip in clips if str(clip) == name] or [clip for clip in clips if clip.id == name]
    if not found:
        raise InputError(
            f"{path} holds no clip {name!r}; it holds {first_of(clips) or 'none'}; nothing was removed"
        )
    if len(found) > 1:
        raise InputError(f"{name!r} may be {' or '.join(map(str, found))}; name its split too")
    return found[0]


SHOWN = 5  # of what keeps stores apart

MERGE_EXAMPLES = """
\b
Examples:
  avemo store merge features machine1/features machine2/features
  avemo store merge features more/features

\b
Exit code: 0 done; 1 done, but damaged arrays were left out, each named; 2 nothing was done, because of wrong
arguments or stores that contradict each other; 130 interrupted: the same command goes on.
"""


@command("merge", epilog=MERGE_EXAMPLES)
@click.argument("out", type=click.Path(path_type=Path))
@click.argument("stores", metavar="STORE...", nargs=-1, required=True, type=click.Path(path_type=Path))
def merge(out: Path, stores: tuple[Path, ...]) -> int:
    """Bring stores together into one.

    OUT, a new store or one to add to, gets all clips and features of each STORE. What is the same in several
    is kept once. Where two tell of a clip in different ways (another file, label, or settings of extraction),
    nothing is done, and the differences are named. Every array that is taken is checked.
    """
    named = [path.resolve() for path in (out, *stores)]
    for i, path in enumerate(named):
        if path in named[:i]:
            raise click.UsageError(f"{(out, *stores)[i]} is named twice; each store is to be named once")
    from ...cache.merge import Merge, contradictions, mixtures
    from ...cache.store import FeatureStore

    sources = [FeatureStore(path) for path in stores]
    there = [FeatureStore(out)] if (out / "store.json").exists() else []
    _refuse(list(contradictions([*there, *sources])))
    target = FeatureStore(out, create=True)
    damaged = []
    for source in sources:
        work = Merge(source, target)
        click.echo(f"{source.path}: {len(source.rows)} clips, {work.clips} of them with something new")
        _run(work)
        damaged += work.damaged
        target.refresh()
    held = {(row.clip.key, stream) for row in target.rows for stream in row.entries if row.has(stream)}
    lost = [damage for damage in damaged if (damage.clip.key, damage.stream) not in held]
    for damage in lost:
        click.echo(f"left out: {damage.clip}, {damage.stream}: {damage.reason}", err=True)
    senseless = [(source.path, line) for source in sources for line in source.senseless]
    for path, line in senseless:
        click.echo(f"left out: {path}: {line}", err=True)
    for text in mixtures(target):
        click.echo(f"note: {text}", err=True)
    left_out = f"; {len(lost)} damaged streams left out" if lost else ""
    click.echo(f"{out}: {len(target.rows)} clips{left_out}; next: avemo store status {out}")
    return 1 if lost or senseless else 0


def _refuse(problems: Sequence[str]) -> None:
    if problems:
        more = f"\n  and {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
        lines = "".join(f"\n  {problem}" for problem in problems[:SHOWN])
        raise InputError(
            f"these stores contradict each other, so nothing was done:{lines}{more}\n"
            "extract these clips again with one choice of settings, give clips of the same name other ids in "
            "a manifest, or keep the stores apart"
        )


def _run(work: Merge) -> None:
    """Carry a merge out under a progress bar."""

    with progress_bar(total=work.nbytes, unit="B", unit_scale=True, disable=not work.nbytes) as bar:
        for done in work:
            bar.update(done)


EXAMPLES = """
\b
Examples:
  avemo store status features
  avemo store verify features --repair
  avemo store import fgnet/ --store features --name fgnet
  avemo store merge features machine1/features machine2/features
  avemo store export features features.h5
"""

store = click.Group(
    "store",
    commands=[status, verify, import_, merge, remove, export],
    help="Look after a feature store.",
    epilog=EXAMPLES,
    context_settings={"help_option_names": ["-h", "--help"]},
)
