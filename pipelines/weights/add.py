"""Adds a user's file to the weights folder: reads it safely, recognises it, and stores it without pickles."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import safetensors.torch

from ...cache import durable
from ...extract.backbones import zoo
from ...extract.backbones.spec import ONNX
from ...extract.backbones.weights import file_kind, load_state
from ...extract.backbones.weights_folder import StoredWeights, folder, name_of, read_card, storable_names
from ...extract.digest import sha256_of
from ...extract.errors import WeightsError
from .check import WeightsVerdict, check

CARD_FORMAT = 1


def add(source: Path, wanted: str | None, licence: str | None) -> StoredWeights:
    """Add ``source`` to :func:`.weights_folder.folder`.

    A checkpoint is stored as ``ARCHITECTURE@TAG.safetensors`` with a card that states its origin. dlib and
    ONNX files are copied.

    Args:
        source: the file to add.
        wanted: ``ARCHITECTURE@TAG`` or ``ARCHITECTURE``; None to recognise the architecture. The default tag
            is that of the zoo for known files, else the file's own name.
        licence: licence to record on the card.

    Raises:
        WeightsError: the file is damaged or unsafe, does not belong to a known network or to ``wanted``, or
            weights of this name already exist.
    """
    verdict = check(source)
    if verdict.state != "ok":
        raise WeightsError(f"{source}: {verdict.what}")
    known = zoo.of_name(verdict.name) if verdict.name else None
    architecture, tag = _identity(source, verdict, wanted, known)
    name = name_of(architecture, tag) if tag else architecture
    _not_another(source, name, known)
    convert = file_kind(source) in ("torch", "safetensors")
    if architecture == ONNX:
        _alone(source)
    target = folder() / _file_name(source, name, known, convert)
    for path in (target, target.with_suffix(".json")):
        if path.exists():
            raise WeightsError(f"{path} is there already: choose another name with --as, or delete it")
    target.parent.mkdir(parents=True, exist_ok=True)
    with durable.replacing(target) as partial:
        if convert:
            state = {key: value.contiguous().clone() for key, value in load_state(source).items()}
            safetensors.torch.save_file(state, partial)
        else:
            shutil.copyfile(source, partial)
        _write_card(source, target, partial, architecture, verdict, licence)
    return StoredWeights(name, target, "cached")


def _identity(
    source: Path, verdict: WeightsVerdict, wanted: str | None, known: zoo.WeightSet | None
) -> tuple[str, str]:
    """Return the architecture and the tag."""
    architecture, _, tag = (wanted or "").partition("@")
    fits = verdict.architectures
    if known is None and not set(fits) & set(storable_names()):
        raise WeightsError(f"{source}: {verdict.what}, not a backbone; use it where it is")
    if architecture and architecture not in storable_names():
        raise WeightsError(
            f"no backbone is called {architecture!r}: expected one of {', '.join(storable_names())}"
        )
    if architecture and architecture not in fits:
        raise WeightsError(f"{source}: not weights of {architecture}, but of {' or '.join(fits)}")
    if not architecture and len(fits) != 1:
        choice = " or ".join(f"--as {name}" for name in fits)
        raise WeightsError(
            f"{source}: fits {' and '.join(fits)}, which normalise a face differently: choose with {choice}"
        )
    architecture = architecture or fits[0]
    if not tag and known is not None and known.architecture == architecture:
        return architecture, known.tag
    return architecture, tag or source.name.partition(".")[0].replace(" ", "-")


def _file_name(source: Path, name: str, known: zoo.WeightSet | None, convert: bool) -> str:
    if convert:
        return f"{name}.safetensors"
    if known is not None and known.name == name:
        return known.files[0]  # facts about a known ONNX file are looked up by this name
    return f"{name}{source.suffix}"


def _not_another(source: Path, name: str, known: zoo.WeightSet | None) -> None:
    """Raise an error if ``name`` belongs to other, known weights."""
    entry = zoo.of_name(name)
    if entry is not None and entry.checksum and entry != known:
        raise WeightsError(
            f"{source}: {name} is the name of weights whose checksum is known, and it has another: "
            f"choose another tag with --as {entry.architecture}@TAG"
        )


def _alone(source: Path) -> None:
    """Raise an error for an ONNX file with external weights, since a copy would not find them."""
    from ...extract.backbones.onnx_net import open_onnx

    if "+" in open_onnx(source)[2]:
        raise WeightsError(
            f"{source}: has its weights in other files; use it where it is, as {ONNX}@{source}"
        )


def _write_card(
    source: Path, target: Path, partial: Path, architecture: str, verdict: WeightsVerdict, licence: str | None
) -> None:
    card = target.with_suffix(".json")
    if architecture == ONNX:
        # An ONNX card describes the input of faces and may hold no other entries.
        if source.with_suffix(".json").is_file():
            with durable.replacing(card) as unfinished:
                shutil.copyfile(source.with_suffix(".json"), unfinished)
        return
    entries = {
        "format": CARD_FORMAT,
        **read_card(source),
        "architecture": architecture,
        "source": source.name,
        "source_sha256": verdict.sha256,
        "sha256": sha256_of(partial),
    }
    if licence:
        entries["licence"] = licence
    with durable.replacing(card) as unfinished:
        unfinished.write_text(json.dumps(entries, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
