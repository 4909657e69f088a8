"""Reports the known facts about each set of weights, as records and as text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ...cache.order import natural
from ...extract.backbones import get, zoo
from ...extract.backbones.onnx_net import read_onnx_card
from ...extract.backbones.spec import ONNX
from ...extract.backbones.weights_folder import StoredWeights, how_to_get, read_card, stored
from ...extract.errors import WeightsError
from ..cli.table import Columns, table
from .check import check, normalisation, preprocessing

MISSING = "missing"
_UNKNOWN = "not known"

Record = dict[str, Any]


def weight_records() -> list[Record]:
    """Return records of all known or installed weights, in natural order of their names."""
    here = {weights.name: weights for weights in stored()}
    known = {entry.name: entry for entry in zoo.TABLE}
    return [
        _record(name, known.get(name), here.get(name))
        for name in sorted({*known, *here}, key=lambda name: natural(name.lower()))
    ]


def weights_table(found: Sequence[Record]) -> str:
    """Format records as a table: training data, input, features, and whether they are installed."""
    columns: Columns = {
        "name": "name",
        "trained on": "trained_on",
        "classes": lambda record: len(record["classes"]) or None,
        "input": lambda record: record["input_size"] and f"{record['input_size']} {record['colour']}",
        "features": "features",
        "here": "place",
        "to get it": _way,
    }
    return table(found, columns)


def weights_text(record: Record) -> str:
    """Format one record, one line per fact."""
    path = record["path"]
    lines = {
        "trained on": record["trained_on"],
        "classes": ", ".join(record["classes"]) or "none known",
        "input": record["preprocessing"],
        "output": record["features"] and f"{record['features']} features, {record['layer']}",
        "network": None if record["paper"] else record["network"],
        "licence": record["licence"] or _UNKNOWN,
        "paper": record["paper"],
        "published at": record["page"],
        "direct link": record["url"],
        "file": " or ".join(record["files"]),
        "checksum": record["checksum"] or _UNKNOWN,
        "note": record["note"],
        "use": record["use"],
        "here": f"{path} ({record['place']})" if path else f"no: {record['how_to_get']}",
    }
    if path:
        verdict = check(Path(path))
        lines["SHA-256"] = verdict.sha256
        lines["verdict"] = f"{verdict.state}: {verdict.what}"
    shown = [(key, value) for key, value in lines.items() if value]
    width = max(len(key) for key, _ in shown)
    return "\n".join([record["name"], *(f"  {key:<{width}}  {value}" for key, value in shown)])


def _record(name: str, entry: zoo.WeightSet | None, here: StoredWeights | None) -> Record:
    architecture = name.partition("@")[0]
    kind = entry.kind if entry else "face detector" if architecture in zoo.detectors() else "face network"
    card = _card(here)
    return {
        "name": name,
        "architecture": architecture,
        "kind": kind,
        "trained_on": entry.trained_on if entry else f"your own: {card.get('source', '')}".rstrip(": "),
        "classes": list(entry.classes if entry and entry.classes else card.get("classes", ())),
        **_network(architecture, kind, entry, here),
        "licence": entry.licence if entry and entry.licence else card.get("licence") or _of_data(card),
        "paper": entry.paper if entry else None,
        "page": entry.page if entry else None,
        "url": entry.url if entry else None,
        "files": list(entry.files) if entry else [],
        "checksum": entry.checksum if entry else None,
        "note": entry.note if entry else "",
        "use": how_to_use(name, kind),
        "how_to_get": how_to_get(entry) if entry and not here else None,
        "place": here.place if here else MISSING,
        "path": str(here.path) if here else None,
    }


def _of_data(card: Mapping[str, Any]) -> str | None:
    """Return the licence of the data that a network of the user's own was trained on."""
    data = card.get("data")
    licence = data.get("licence") if isinstance(data, dict) else None
    return f"of the data: {licence}" if licence else None


def _network(
    architecture: str, kind: zoo.Kind, entry: zoo.WeightSet | None, here: StoredWeights | None
) -> Record:
    """Return input, output and source of a network from its spec."""
    unknown: Record = dict.fromkeys(("input_size", "colour", "preprocessing", "features", "layer", "network"))
    if kind != "face network":
        return unknown
    if architecture == ONNX:
        # Input size and features are only in the file, which may be missing.
        try:
            card = read_onnx_card(here.path if here else Path(entry.files[0] if entry else ""))
        except WeightsError as error:
            return {**unknown, "preprocessing": str(error)}
        values = normalisation(card.colour, card.mean, card.std)
        return {**unknown, "colour": card.colour, "preprocessing": f"{values}; input size as in the file"}
    spec = get(architecture)
    return {
        "input_size": spec.input_size,
        "colour": spec.colour,
        "preprocessing": preprocessing(spec),
        "features": spec.features,
        "layer": spec.layer,
        "network": spec.source,
    }


def _card(here: StoredWeights | None) -> dict[str, Any]:
    """Return the card beside the file; empty if unreadable, which ``avemo weights verify`` reports."""
    if here is None or here.architecture == ONNX:
        return {}
    try:
        return read_card(here.path)
    except WeightsError:
        return {}


def how_to_use(name: str, kind: zoo.Kind) -> str | None:
    """Return the option that selects these weights, if there is one."""
    option = {"face network": "--backbone", "face detector": "--detector"}.get(kind)
    return option and f"{option} {name}"


def _way(record: Record) -> str | None:
    if record["path"]:
        return None
    if record["url"]:
        return "fetch"
    return "by hand" if record["files"] else "avemo pretrain"
