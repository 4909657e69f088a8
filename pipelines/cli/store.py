"""``avemo store``: inspect, check, merge and export feature stores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..corpora.clips.found import count_of, first_of
from ..stores import open_store
from .framework import InputError, altered, command, json_result, show_result
from .options import store_option
from .outputs import overwrite_option, refuse_existing
from .progress import progress_bar
from .store_import import import_

if TYPE_CHECKING:
    from ...cache.checks import Findings
    from ...cache.clips import Clip
    from ...cache.merge import Damage, Merge
    from ...cache.store import FeatureStore

DEFAULT = Path("features")
HDF5 = (".h5", ".hdf5", ".hdf")
store_argument = click.argument("path", metavar="[STORE]", default=DEFAULT, type=click.Path(path_type=Path))


@command("status")
@store_argument
@click.option(
    "--watch",
    type=click.IntRange(min=1),
    metavar="N",
    help="First follow an extraction, on any machines, until the store holds N clips.",
)
@json_result
def status(path: Path, watch: int | None) -> None:
    """Show what a store holds.

    Counts the clips, labels, faces, streams and failures of STORE (default: features).
    """
    from ..store_status import poll, status_text, store_status

    with open_store(path) as store:
        if watch:
            with progress_bar(
                total=watch, initial=min(store.count, watch), unit="clip", smoothing=0.1
            ) as bar:
                for clips, failed in poll(store, watch):
                    bar.set_postfix(failed=failed, refresh=False)
                    bar.update(clips - bar.n)
        found = store_status(store)
    show_result(found, status_text)


@command("verify")
@store_argument
@click.option(
    "--repair",
    is_flag=True,
    help="Remove damaged arrays from the store, so that avemo-extract makes them again; skip invalid lines; "
    "remove shards that no journal mentions.",
)
@json_result
def verify(path: Path, repair: bool) -> int:
    """Check a store for damage.

    Reads every array of STORE (default: features) and compares its checksum, and checks each line of its
    journals.

    \b
    Exit code: 0 no damage; 1 damage, each case named; 2 no such store.
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
        click.echo(f"{shard}: mentioned in no journal; its process was killed too early", err=True)
    show_result(_verified(store, found, repair), lambda _: _verdict(path, store.count, found, repair))
    return 1 if found else 0


def _verdict(path: Path, clips: int, found: Findings, repaired: bool) -> str:
    if not found:
        return f"{path}: {clips} clips, every array as it was written"
    parts = {"damaged stream": found.damaged, "invalid line": found.senseless, "unused shard": found.unused}
    counts = " and ".join(count_of(len(those), name) for name, those in parts.items() if those)
    if not repaired:
        return f"{path}: {counts}; --repair removes them from the store"
    again = "; avemo-extract, or avemo store import for what was imported, makes them again"
    return f"{path}: {counts}, repaired{again if found.damaged or found.senseless else ''}"


def _verified(store: FeatureStore, found: Findings, repaired: bool) -> dict[str, Any]:
    return {
        "store": str(store.path),
        "clips": store.count,
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

    FILE.h5 holds all of STORE (default: features); no other file is needed.
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
@altered(store_option, help="Feature store.")
@click.option("--gone", is_flag=True, help="Remove all clips whose files no longer exist.")
def remove(names: tuple[str, ...], store: Path, gone: bool) -> None:
    """Remove clips from a store.

    CLIP is an id, or SPLIT/ID. Shards never change, so this frees no space; avemo store merge NEW STORE
    makes a store without the removed clips.
    """
    if not names and not gone:
        raise click.UsageError("name the clips to remove, as SPLIT/ID or ID, or give --gone")
    with open_store(store) as opened:
        clips = [row.clip for row in opened.rows]
        chosen = [_the_clip(name, clips, store) for name in names]
        chosen += [clip for clip in clips if gone and clip.path and not Path(clip.path).exists()]
        chosen = list(dict.fromkeys(chosen))
        with opened.writer() as writer:
            for clip in chosen:
                writer.remove(clip)
    told = f": {first_of(chosen)}" if chosen else ", because every clip's file exists"
    click.echo(f"{store}: removed {count_of(len(chosen), 'clip')}{told}; {len(clips) - len(chosen)} left")


def _the_clip(name: str, clips: Sequence[Clip], path: Path) -> Clip:
    found = [clip for clip in clips if str(clip) == name] or [clip for clip in clips if clip.id == name]
    if not found:
        raise InputError(
            f"{path} holds no clip {name!r}; it holds {first_of(clips) or 'none'}; nothing was removed"
        )
    if len(found) > 1:
        raise InputError(f"{name!r} may be {' or '.join(map(str, found))}; name its split too")
    return found[0]


SHOWN = 5  # limit for contradictions named

MERGE_EXAMPLES = """
\b
Examples:
  avemo store merge features machine1/features machine2/features
  avemo store merge features more/features

\b
Exit code: 0 done; 1 done, but damaged arrays were left out (each is named); 2 nothing
done: wrong arguments, or stores that contradict each other; 130 interrupted (the
same command continues).
"""


@command("merge", epilog=MERGE_EXAMPLES)
@click.argument("out", type=click.Path(path_type=Path))
@click.argument("stores", metavar="STORE...", nargs=-1, required=True, type=click.Path(path_type=Path))
def merge(out: Path, stores: tuple[Path, ...]) -> int:
    """Merge stores into one.

    OUT, a new or existing store, gets all clips and features of each STORE; duplicates are kept once. If two
    stores disagree about a clip (its file, label or extraction settings), nothing is done and the differences
    are named. Every copied array is checked.
    """
    named = [path.resolve() for path in (out, *stores)]
    for i, path in enumerate(named):
        if path in named[:i]:
            raise click.UsageError(f"{(out, *stores)[i]} is named twice; name each store once")
    from ...cache.merge import Merge, contradictions, mixtures
    from ...cache.store import FeatureStore

    sources = [FeatureStore(path) for path in stores]
    there = [FeatureStore(out)] if (out / "store.json").exists() else []
    _refuse(list(contradictions([*there, *sources])))
    target = FeatureStore(out, create=True)
    damaged = []
    for source in sources:
        work = Merge(source, target)
        click.echo(f"{source.path}: {work.found} clips, {work.clips} of them with something new")
        _run(work)
        damaged += work.damaged
        target.refresh()
    lost = [damage for damage in damaged if not _has(target, damage)]
    for damage in lost:
        click.echo(f"left out: {damage.clip}, {damage.stream}: {damage.reason}", err=True)
    senseless = [(source.path, line) for source in sources for line in source.senseless]
    for path, line in senseless:
        click.echo(f"left out: {path}: {line}", err=True)
    for text in mixtures(target):
        click.echo(f"note: {text}", err=True)
    left_out = f"; {len(lost)} damaged streams left out" if lost else ""
    click.echo(f"{out}: {target.count} clips{left_out}; next: avemo store status {out}")
    return 1 if lost or senseless else 0


def _has(target: FeatureStore, damage: Damage) -> bool:
    row = target.row(damage.clip)
    return row is not None and row.has(damage.stream)


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
    """Run a merge under a progress bar."""

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
    help="Inspect, check, merge and export feature stores.",
    epilog=EXAMPLES,
    context_settings={"help_option_names": ["-h", "--help"]},
)
