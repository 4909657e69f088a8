"""``avemo weights``: list, fetch and check weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .framework import InputError, command, json_result, show_result
from .progress import progress_bar
from .table import Columns, table

if TYPE_CHECKING:
    from ...extract.backbones.zoo import WeightSet

names_argument = click.argument("names", metavar="NAME...", nargs=-1, required=True)


@command("list")
@click.argument("pattern", default="*")
@json_result
def list_(pattern: str) -> None:
    """List known weights.

    PATTERN selects names by a part of them, as in ferplus, or by * and ?, as in 'resnet*'.
    """
    from ...extract.backbones.zoo import matches
    from ..weights.report import weight_records, weights_table

    found = [record for record in weight_records() if matches(record["name"], pattern)]
    if not found:
        raise InputError(f"no weights have a name like {pattern!r}; `avemo weights list` lists all")
    show_result(found, weights_table)


@command("show")
@names_argument
@json_result
def show(names: tuple[str, ...]) -> None:
    """Show details of weights.

    Classes, input and output, licence, source, checksum and, for those on this machine, the file and whether
    it is intact.
    """
    from ..weights.report import weights_text

    show_result(_records(names), lambda found: "\n\n".join(map(weights_text, found)))


@command("fetch")
@names_argument
@click.option(
    "--url", metavar="URL", help="Fetch the file from this mirror instead; the checks are the same."
)
@click.option("--again", is_flag=True, help="Fetch it even if it is here.")
def fetch(names: tuple[str, ...], url: str | None, again: bool) -> int:
    """Download weights.

    An interrupted download continues where it stopped. Each file is checked: its checksum, if one is known,
    and whether it loads into its network. No code in it is run.

    \b
    Exit code: 0 all are here; 1 some are not; 2 the only one asked for is not, or no
    weights have that name; 130 interrupted (the same command continues).
    """
    from ...extract.backbones.zoo import of_name

    found = _records(names)
    if url and len(found) > 1:
        raise click.UsageError(f"--url is the address of one file, but {len(found)} weights are asked for")
    failed = 0
    for record in found:
        if record["path"] and not (again and record["place"] == "cached"):
            click.echo(f"{record['name']} is here: {record['path']} ({record['place']})")
            continue
        entry = of_name(record["name"])
        try:
            if entry is None:
                raise InputError(f"{record['name']} is your own; no address to fetch it from is known")
            _fetch(entry, url or entry.url)
        except (InputError, ValueError) as error:
            if len(found) == 1:
                raise
            click.echo(str(error), err=True)
            failed += 1
    return 1 if failed else 0


@command("verify")
@click.argument("files", metavar="[FILE|NAME]...", nargs=-1)
@json_result
def verify(files: tuple[str, ...]) -> int:
    """Check weights for damage.

    Recognises each FILE, or the file of each NAME (default: all on this machine), by its tensors, loads it
    into its network, and compares its SHA-256 with the published one or that on its card.

    \b
    Exit code: 0 all are intact; 1 some are not (each is named with its reason).
    """
    from ...extract.backbones.weights_folder import stored
    from ..weights.check import check

    here = {weights.name: weights.path for weights in stored()}
    verdicts = [check(path, expected) for path, expected in _to_verify(files, here)]
    names = {path: name for name, path in here.items()}
    columns: Columns = {
        "file": lambda verdict: Path(verdict["path"]).name,
        "verdict": "state",
        "known as": lambda verdict: verdict["name"] or names.get(Path(verdict["path"])),
        "what it is": lambda verdict: verdict["what"] if verdict["state"] != "problem" else None,
        "SHA-256": lambda verdict: verdict["sha256"] and verdict["sha256"][:16],
        "checksum": "checksum",
    }
    told = [{**vars(verdict), "path": str(verdict.path)} for verdict in verdicts]
    show_result(told, lambda found: table(found, columns))
    problems = [verdict for verdict in verdicts if verdict.state == "problem"]
    for verdict in problems:
        click.echo(f"{verdict.path}: {verdict.what}", err=True)
    return 1 if problems else 0


@command("add")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--as", "name", metavar="NAME", help="ARCHITECTURE or ARCHITECTURE@TAG, as in ir50@affectnet.")
@click.option("--licence", metavar="TEXT", help="Licence of the weights, for the card.")
def add(file: Path, name: str | None, licence: str | None) -> None:
    """Add your own weights file, so that --backbone or --detector finds it by name.

    FILE is recognised by its tensors and kept as .safetensors, with a card that records its origin. No code
    in it is run.
    """
    from ..weights.add import add as put
    from ..weights.report import weight_records

    stored = put(file, name, licence)
    use = next(record["use"] for record in weight_records() if record["name"] == stored.name)
    click.echo(f"added {stored.path}; use it as {use}")


def _records(names: Sequence[str]) -> list[dict[str, Any]]:
    """Find weights by name; a name may contain ``*``, or leave out the tag if there is only one."""
    import difflib

    from ...extract.backbones.zoo import matches
    from ..weights.report import weight_records

    known = {record["name"]: record for record in weight_records()}
    found: dict[str, dict[str, Any]] = {}
    for name in names:
        fitting = [name] if name in known else [n for n in known if "*" in name and matches(n, name)]
        of_it = [n for n in known if n.partition("@")[0] == name]
        fitting = fitting or (of_it if len(of_it) == 1 else [])
        if not fitting:
            near = difflib.get_close_matches(name, known, cutoff=0.3)
            hint = f"did you mean {' or '.join(near)}? " if near else ""
            raise InputError(f"no weights are called {name!r}; {hint}`avemo weights list` lists all")
        found |= {n: known[n] for n in fitting}
    return list(found.values())


def _fetch(entry: WeightSet, url: str | None) -> None:

    from ...extract.backbones.weights_folder import folder, how_to_get
    from ..errors import DownloadError
    from ..weights.check import check
    from ..weights.download import download

    if url is None or not entry.files:
        raise InputError(f"{entry.name} cannot be fetched: there is no direct link; {how_to_get(entry)}")
    target = folder() / entry.files[0]

    def whole(path: Path) -> None:
        verdict = check(path, entry)
        if verdict.state == "problem":
            raise DownloadError(f"{url}: {verdict.what}")

    with progress_bar(desc=entry.name, unit="B", unit_scale=True) as bar:

        def started(done: int, total: int | None) -> None:
            bar.reset(total)
            bar.initial = bar.n = done
            bar.refresh()

        try:
            download(url, target, whole, started, bar.update)
        except DownloadError as error:
            bar.leave = False
            raise InputError(
                f"{entry.name} could not be fetched. {error}. By hand: get {entry.files[0]} from "
                f"{entry.page} and put it into {target.parent}"
            ) from error
    click.echo(f"fetched {target}; licence: {entry.licence or 'not known, see ' + entry.page}")


def _to_verify(files: Sequence[str], here: Mapping[str, Path]) -> list[tuple[Path, WeightSet | None]]:
    """Return paths, each with what a named file should be; ``here`` maps all local names to paths."""
    from ...extract.backbones.zoo import of_name

    if not files and not here:
        raise InputError("there are no weights on this machine; `avemo weights list` says how to get them")
    chosen: list[tuple[Path, WeightSet | None]] = []
    for file in files or here:
        path = Path(file).expanduser()
        named = not path.exists() and file in here
        chosen.append((here[file], of_name(file)) if named else (path, None))
    return chosen


EXAMPLES = """
\b
Examples:
  avemo weights list ferplus
  avemo weights show irse50@ms1m
  avemo weights fetch irse50@ms1m
  avemo weights fetch yunet                          (a face detector)
  avemo weights add ir50_affectnet.pth --as ir50@affectnet --licence "research only"
  avemo-extract clips/ --backbone irse50@ms1m --backbone ir50@affectnet
  avemo weights verify
"""

weights = click.Group(
    "weights",
    commands=[list_, show, fetch, verify, add],
    help="Find, fetch and check the weights of face networks and detectors.\n\nThey are kept in the folder "
    "$AVEMO_WEIGHTS, or else in avemo/weights of your cache folder.",
    epilog=EXAMPLES,
    context_settings={"help_option_names": ["-h", "--help"]},
)
