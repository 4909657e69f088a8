"""``avemo store``: looking after a feature store."""

from __future__ import annotations

import json
from pathlib import Path

import click

from .cli import command

DEFAULT = Path("features")
store_argument = click.argument("path", metavar="[STORE]", default=DEFAULT, type=click.Path(path_type=Path))


@command("status")
@store_argument
@click.option("--json", "as_json", is_flag=True, help="Print all of it as one JSON object.")
def status(path: Path, as_json: bool) -> None:
    """Say what is in a store.

    Clips, labels, faces, streams and failures of STORE (default: features).
    """
    from ..cache.store import FeatureStore
    from .store_report import as_text, report

    with FeatureStore(path) as store:
        found = report(store)
    click.echo(json.dumps(found, indent=2, ensure_ascii=False) if as_json else as_text(found))


@command("verify")
@store_argument
@click.option("--drop", is_flag=True, help="Take damaged arrays off the books, to be extracted again.")
def verify(path: Path, drop: bool) -> int:
    """See whether a store is whole.

    Reads every array of STORE (default: features) and compares its checksum.

    \b
    Exit code: 0 whole; 1 something is damaged, each named; 2 no such store.
    """
    from ..cache.checks import damaged
    from ..cache.store import FeatureStore

    with FeatureStore(path) as store:
        found = []
        for row, stream, problem in damaged(store):
            found.append((row.clip, stream))
            click.echo(f"{row.clip}, {stream}: {problem}", err=True)
        if found and drop:
            with store.writer() as writer:
                for clip, stream in found:
                    writer.drop(clip, [stream])
    if not found:
        click.echo(f"{path}: {len(store.rows)} clips, every array as it was written")
        return 0
    remedy = "run avemo-extract again to make them anew" if drop else "--drop lets them be extracted again"
    click.echo(f"{path}: {len(found)} damaged streams{', dropped' if drop else ''}; {remedy}")
    return 1


@command("export")
@click.argument("paths", metavar="[STORE] FILE.h5", nargs=-1, required=True, type=click.Path(path_type=Path))
def export(paths: tuple[Path, ...]) -> None:
    """Write a store into one file.

    FILE.h5 gets all of STORE (default: features) and needs nothing beside it.
    """
    if len(paths) > 2:
        raise click.UsageError(f"{len(paths)} paths given; [STORE] FILE.h5 expected")
    from ..cache.checks import export as write
    from ..cache.store import FeatureStore

    source, target = (DEFAULT, *paths)[-2:]
    with FeatureStore(source) as store:
        count = write(store, target)
    click.echo(f"wrote {target}: {count} clips")


store = click.Group(
    "store",
    commands=[status, verify, export],
    help="Look after a feature store.",
    context_settings={"help_option_names": ["-h", "--help"]},
)
