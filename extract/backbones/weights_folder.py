"""Weights on this machine: in installed packages, and in the user's weights folder.

The folder is set by the environment variable ``AVEMO_WEIGHTS``; the default is ``avemo/weights`` in the
user's cache (on Linux ``~/.cache``, or ``XDG_CACHE_HOME``). A file there has a name that the zoo knows, or
is ``ARCHITECTURE@TAG.safetensors`` with its card, ``ARCHITECTURE@TAG.json``, beside it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import platformdirs

from ...cache.order import natural
from ...cache.reading import read_json
from ..detectors.dlib import face_models
from ..errors import ExtractError, WeightsError
from . import zoo
from .registry import get, names
from .spec import ONNX

VARIABLE = "AVEMO_WEIGHTS"

Place = Literal["embedded", "in a package", "cached"]

_TAG = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")
_SUFFIXES = (".safetensors", ".onnx", ".dat")
_EMBEDDED = Path(__file__).parent / "data"
_LARGEST_CARD = 1 << 20


@dataclass(frozen=True)
class StoredWeights:
    """Weights on this machine: name (the architecture is before the ``@``), file and kind of place."""

    name: str
    path: Path
    place: Place

    @property
    def architecture(self) -> str:
        return self.name.partition("@")[0]

    @property
    def tag(self) -> str:
        return self.name.partition("@")[2]


def folder() -> Path:
    """Return the folder for fetched and added weights, which need not exist."""
    chosen = os.environ.get(VARIABLE)
    if chosen:
        return Path(chosen).expanduser()
    return platformdirs.user_cache_path("avemo", appauthor=False) / "weights"


def stored() -> list[StoredWeights]:
    """Return all weights on this machine in natural order; a package's take precedence over the folder's."""
    found = {weights.name: weights for weights in (*_cached(), *_installed())}
    return sorted(found.values(), key=lambda weights: natural(weights.name.lower()))


def find(
    architecture: str, wanted: str = "", default: Callable[[], Path] | None = None, twin: str = ""
) -> tuple[Path, str]:
    """Return the file of the weights ``ARCHITECTURE@WANTED``, and their label.

    ``wanted`` is a file, or the tag of weights in :func:`folder`. If it is empty, ``default`` is used if
    given, else the architecture's only weights in the folder. Weights of ``twin``, a network with the same
    tensors, are accepted as well.

    Raises :class:`WeightsError` if there are none, or several to choose from; the message says what to
    get, from where, and where to put it.
    """
    if not wanted and default is not None:
        return default(), architecture
    if not wanted:
        return _only_weights(architecture, twin)
    path = Path(wanted).expanduser()
    if path.is_file() or not _TAG.fullmatch(wanted):
        return path, f"{architecture}@{path.stem}"
    name = f"{architecture}@{wanted}"
    fitting = [weights for weights in _fitting(architecture, twin) if weights.tag == wanted]
    if fitting:
        return fitting[0].path, name
    known = [entry for entry in _known(architecture, twin) if entry.tag == wanted]
    if known:
        raise WeightsError(f"{known[0].name} is not on this machine: {how_to_get(known[0])}")
    raise WeightsError(
        f"there is no file {wanted!r}, nor weights called {name}: {_choice(architecture, twin)}"
    )


def mismatch(text: str) -> str:
    """Return why the file of ``NAME@FILE`` or the like is not what its name promises; empty if it is.

    A file may have the name of published weights but come from another training.
    """
    name, _, wanted = text.partition("@")
    try:
        path, _ = find(name, wanted, None if wanted or name == ONNX else get(name).default_weights)
    except ExtractError:
        return ""
    entry = zoo.of_file(path.name)
    if entry is None or entry.checksum is None or not path.is_file():
        return ""
    digests = zoo.digests(path)
    if zoo.agrees(entry, digests):
        return ""
    kind, _, expected = entry.checksum.partition(":")
    return (
        f"{path}: has the name of {entry.name} but is not the published file: expected {kind} {expected}, "
        f"found {digests[kind]}"
    )


def storable_names() -> tuple[str, ...]:
    """Return the names of networks and detectors whose weights may be in :func:`folder`."""
    return (*names(), ONNX, *zoo.detectors())


def how_to_get(entry: zoo.WeightSet) -> str:
    """Return instructions for getting these weights."""
    if entry.url:
        return f"`avemo weights fetch {entry.name}` gets them"
    if not entry.files:
        return f"they are {entry.page}"
    archive = f" ({entry.note})" if entry.note else ""
    return f"get {entry.files[0]} from {entry.page}{archive} and put it into {folder()}"


def name_of(architecture: str, tag: str) -> str:
    """Return ``ARCHITECTURE@TAG``; raise :class:`WeightsError` if it cannot be a file name."""
    if not _TAG.fullmatch(tag):
        raise WeightsError(
            f"{tag!r} cannot tell apart the weights of {architecture}: a tag has letters, digits and . _ + -"
        )
    return f"{architecture}@{tag}"


def read_card(path: Path) -> dict[str, Any]:
    """Return the card beside a weights file; empty if there is none.

    Raises :class:`WeightsError` if there is a file in its place that cannot be read as JSON.
    """
    file = path.with_suffix(".json")
    if not file.is_file():
        return {}
    try:
        if file.stat().st_size > _LARGEST_CARD:
            raise ValueError("it is far too large")
        card = read_json(file)
    except (OSError, ValueError) as error:
        raise WeightsError(f"{file}: not a weights card, expected one JSON object ({error})") from error
    return card if isinstance(card, dict) and isinstance(card.get("sha256"), str) else {}


def _fitting(architecture: str, twin: str) -> list[StoredWeights]:
    """Return a network's weights in the folder: its own, then its twin's."""
    cached = list(_cached())
    return [weights for name in (architecture, twin) for weights in cached if weights.architecture == name]


def _known(architecture: str, twin: str) -> list[zoo.WeightSet]:
    return [*zoo.of_architecture(architecture), *zoo.of_architecture(twin)]


def _only_weights(architecture: str, twin: str) -> tuple[Path, str]:
    fitting = _fitting(architecture, twin)
    if len(fitting) == 1:
        return fitting[0].path, f"{architecture}@{fitting[0].tag}" if fitting[0].tag else architecture
    if fitting:
        raise WeightsError(
            f"there are several weights of {architecture!r} in {folder()}: "
            f"say which, {' or '.join(f'{architecture}@{weights.tag}' for weights in fitting)}"
        )
    raise WeightsError(f"{architecture!r} needs a weights file: {_choice(architecture, twin)}")


def _choice(architecture: str, twin: str) -> str:
    known = [
        (f"{architecture}@{entry.tag}" if entry.tag else architecture, entry)
        for entry in _known(architecture, twin)
    ]
    ways = [f"give it as {architecture}@FILE", *(f"for {name}, {how_to_get(entry)}" for name, entry in known)]
    return "; ".join(ways)


def _cached() -> Iterator[StoredWeights]:
    """Yield the weights in the folder, only the first file for each name."""
    where, seen = folder(), set()
    for path in sorted(where.iterdir()) if where.is_dir() else ():
        name = _name_of(path)
        if name is not None and name not in seen:
            seen.add(name)
            yield StoredWeights(name, path, "cached")


def _name_of(path: Path) -> str | None:
    entry = zoo.of_file(path.name)
    if entry is not None:
        return entry.name
    architecture, _, tag = path.stem.partition("@")
    if path.suffix in _SUFFIXES and _TAG.fullmatch(tag) and architecture in storable_names():
        return path.stem
    return None


def _installed() -> Iterator[StoredWeights]:
    for name in names():
        default = get(name).default_weights
        if default is not None:
            yield from _if_present(name, default)
    for entry in zoo.TABLE:
        if entry.kind == "face points":
            yield from _if_present(entry.name, partial(_dlib_file, entry.files[0]))


def _dlib_file(file: str) -> Path:
    return face_models() / file


def _if_present(name: str, locate: Callable[[], Path]) -> Iterator[StoredWeights]:
    try:
        path = locate()
    except ExtractError:  # its package is not installed
        return
    if path.is_file():
        yield StoredWeights(name, path, "embedded" if path.is_relative_to(_EMBEDDED) else "in a package")
