"""Recipes: a paper's settings and figures as data, in a TOML file here or elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from ..cli.framework import InputError
from ..cli.settings_file import literal, nearest, toml

FIRST, SECOND = "{A}", "{B}"
"""Placeholders for the first and the second backbone in the name of a feature."""
HERE = Path(__file__).parent
KEYS = {
    "title": "",
    "source": "",
    "paper": "",
    "base": "",
    "confusion": False,
    "extract": {},
    "train": {},
    "cv": {},
    "runs": {},
    "ensemble": {},
    "compare": {},
    "published": [],
    "network": [],
}
"""The keys of a recipe file, each with a value of the type expected."""
EXPECTED = {str: "a text in quotes", bool: "true or false", dict: "a table", list: "a list of tables"}


@dataclass(frozen=True)
class Published:
    """A figure printed in a paper: data set, name of the method, and accuracy from 0 to 1."""

    dataset: str
    name: str
    accuracy: float


@dataclass(frozen=True)
class NetworkPart:
    """Settings of some heads of a paper; with ``markers``, only if the pictures are facial markers."""

    heads: tuple[str, ...]
    markers: bool
    settings: Mapping[str, Any]


@dataclass(frozen=True)
class Recipe:
    """A paper's runs, and the figures to compare the results with.

    Attributes:
        name, file: name of the recipe, and its file.
        title, source, paper: title; where the figures are printed, and on which clips; what the paper used.
        extract: settings of ``avemo-extract``, as in its ``--config``.
        kind: ``train`` or ``cv``; empty if there is nothing to run.
        shared: settings of all runs.
        runs: name → the settings in which a run differs.
        papers: run → the accuracy that the paper printed, from 0 to 1.
        ensemble: ``prior`` of the ensemble of the runs, and the ``paper``'s figure; None for no ensemble.
        baseline: run that the others are tested against, if any.
        published: run → figures of others, shown beside it.
        confusion: whether the results show confusion matrices.
        network: network of the paper, for ``--preset``; see :mod:`.presets`.
    """

    name: str
    file: Path
    title: str
    source: str = ""
    paper: str = ""
    extract: Mapping[str, Any] = field(default_factory=dict)
    kind: str = ""
    shared: Mapping[str, Any] = field(default_factory=dict)
    runs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    papers: Mapping[str, float] = field(default_factory=dict)
    ensemble: Mapping[str, Any] | None = None
    baseline: str | None = None
    published: Mapping[str, tuple[Published, ...]] = field(default_factory=dict)
    confusion: bool = False
    network: tuple[NetworkPart, ...] = ()


def letters(recipe: Recipe) -> int:
    """Return how many backbones the runs name."""
    texts = [str(each.get("visual", "")) for each in (recipe.shared, *recipe.runs.values())]
    return sum(any(letter in text for text in texts) for letter in (FIRST, SECOND))


def names() -> list[str]:
    """Return the names of the recipes of the package."""
    return sorted(path.stem for path in HERE.glob("*.toml"))


@cache
def load(name: str) -> Recipe:
    """Load a recipe of the package, or one in a file ``NAME.toml``.

    Raises:
        InputError: there is none, or something in it is invalid.
    """
    found = read(name)
    where = path_of(name)
    kinds = [kind for kind in ("train", "cv") if kind in found]
    runs = {run: dict(_table(own, f"{where}: runs.{run}")) for run, own in found.get("runs", {}).items()}
    if len(kinds) > 1 or bool(runs) != bool(kinds):
        raise InputError(f"{where}: expected runs, and either [train] or [cv] with what they share")
    if not (runs or found.get("network")):
        raise InputError(f"{where} has no runs; expected [train] or [cv], and [runs]")
    papers = {run: _share(own.pop("paper"), f"{where}: {run}") for run, own in runs.items() if "paper" in own}
    compare = found.get("compare", {})
    _known(compare, ("baseline",), f"{where}: [compare]")
    _known([compare[key] for key in compare], runs, f"{where}: [compare] baseline")
    if compare and kinds == ["train"]:
        raise InputError(f"{where}: [compare] tests cross-validations; these runs are trained")
    if "ensemble" in found and kinds != ["train"]:
        raise InputError(f"{where}: [ensemble] is made of trained runs; write [train] for [cv]")
    return Recipe(
        where.stem,
        where,
        found.get("title", ""),
        found.get("source", ""),
        found.get("paper", ""),
        found.get("extract", {}),
        "".join(kinds),
        found[kinds[0]] if kinds else {},
        runs,
        papers,
        found.get("ensemble"),
        compare.get("baseline"),
        _published(found.get("published", []), runs, where),
        found.get("confusion", False),
        tuple(_part(part, f"{where}: network") for part in found.get("network", ())),
    )


def path_of(name: str) -> Path:
    """Return the file of a recipe.

    Raises:
        InputError: there is none.
    """
    if name.endswith(".toml"):
        return Path(name)
    if name not in names():
        raise InputError(f"there is no recipe {name!r}; {nearest(name, names())} (a file ends in .toml)")
    return HERE / f"{name}.toml"


def read(name: str) -> dict[str, Any]:
    """Read a file, merged into its ``base`` table by table; its ``runs`` replace those of the base.

    Raises:
        InputError: it cannot be read, or a key or the type of a value is not known.
    """
    path = path_of(name)
    found = toml(path)
    _known(found, KEYS, str(path))
    for key, value in found.items():
        if type(value) is not type(KEYS[key]):
            raise InputError(f"{path}: {key} = {literal(value)}: expected {EXPECTED[type(KEYS[key])]}")
    if "base" not in found:
        return found
    base = found.pop("base")
    if "base" in toml(path_of(base)):
        raise InputError(f"{path}: its base, {base}, has a base itself; name that one")
    whole = read(base)
    for key, value in found.items():
        joins = key != "runs" and isinstance(value, dict)
        whole[key] = {**whole.get(key, {}), **value} if joins else value
    return whole


def _published(found: list[Any], runs: Mapping[str, Any], where: Path) -> dict[str, tuple[Published, ...]]:
    """Parse the ``[[published]]`` tables, by their runs."""
    tables = {}
    for table in found:
        _known(_table(table, f"{where}: published"), ("run", "rows"), f"{where}: [[published]]")
        run = table.get("run", "")
        _known([run], runs, f"{where}: [[published]] run")
        try:
            rows = [(str(dataset), str(whose), accuracy) for dataset, whose, accuracy in table["rows"]]
        except (KeyError, TypeError, ValueError):
            raise InputError(
                f"{where}: [[published]] of {run}: expected rows of DATASET, NAME, ACCURACY"
            ) from None
        tables[run] = tuple(Published(*row[:2], _share(row[2], f"{where}: {row[1]}")) for row in rows)
    return tables


def _part(found: Any, where: str) -> NetworkPart:
    settings = dict(_table(found, where))
    heads, markers = settings.pop("heads", None), settings.pop("markers", False)
    if not (isinstance(heads, list) and heads and all(isinstance(each, str) for each in heads)):
        raise InputError(f"{where}: heads = {literal(heads)}: expected a list of texts")
    if not isinstance(markers, bool):
        raise InputError(f"{where}: markers = {literal(markers)}: expected true or false")
    return NetworkPart(tuple(heads), markers, {**settings.pop("set", {}), **settings})


def _known(found: Iterable[str], known: Iterable[str], where: str) -> None:
    known = list(known)
    for key in found:
        if key not in known:
            raise InputError(f"{where} has no {key!r}; {nearest(str(key), known)}")


def _table(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise InputError(f"{where} = {literal(value)}: expected a table")
    return value


def _share(value: Any, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
        raise InputError(f"{where}: {literal(value)} is not an accuracy; expected a number from 0 to 1")
    return float(value)
