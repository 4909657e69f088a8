"""Checks weights files: identifies each file and gives a verdict on it instead of raising errors."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from ...extract.backbones import get, zoo
from ...extract.backbones.dlib_resnet import read_dlib_resnet
from ...extract.backbones.recognise import nearest, recognise
from ...extract.backbones.spec import BackboneSpec
from ...extract.backbones.weights import CLASS_LAYER, file_kind, load_into, load_state
from ...extract.backbones.weights_folder import read_card
from ...extract.digest import sha256_of
from ...extract.errors import ExtractError, WeightsError

State = Literal["ok", "other", "problem"]


@dataclass(frozen=True)
class WeightsVerdict:
    """The verdict on a weights file.

    Attributes:
        path: the file.
        state: ``ok`` if the file is intact and usable, ``other`` if it is intact but avemo cannot use it,
            else ``problem``.
        what: what the file is, or what is wrong with it.
        architectures: architectures that can load it.
        sha256: its SHA-256, if it could be read.
        checksum: what the SHA-256 was compared with, in words.
        name: name of the weights, if known.
    """

    path: Path
    state: State
    what: str
    architectures: tuple[str, ...] = ()
    sha256: str | None = None
    checksum: str = "-"
    name: str | None = None


class _Other(Exception):
    """The file is intact, but avemo cannot use it; the message says what it is."""


def check(path: Path, expected: zoo.WeightSet | None = None) -> WeightsVerdict:
    """Check a file.

    Args:
        path: the file.
        expected: the weights that it should hold; None for any.
    """
    sha256 = None
    try:
        if not path.is_file():
            raise WeightsError("a folder, expected a file" if path.is_dir() else "there is no such file")
        digests = zoo.digests(path)
        sha256 = digests["sha256"]
        published = zoo.published(digests)
        known = expected or published or zoo.of_file(path.name)
        what, architectures = _look(path, published or known)
        if known is not None and (known.architecture not in architectures or published not in (None, known)):
            raise WeightsError(f"expected {known.name}, but it is {published.name if published else what}")
        checksum = "as published" if published else _compare(path, digests, known)
    except _Other as other:
        return WeightsVerdict(path, "other", str(other), sha256=sha256)
    except (ExtractError, OSError) as error:
        # The path has a column of its own.
        return WeightsVerdict(path, "problem", str(error).removeprefix(f"{path}: "), sha256=sha256)
    return WeightsVerdict(path, "ok", what, architectures, sha256, checksum, known.name if known else None)


def preprocessing(spec: BackboneSpec) -> str:
    """Describe the input, such as ``112 × 112 RGB, (0-255 - 127.5) / 127.5``, and the part of the chip."""
    left, top, side = spec.window
    part = "" if side == 1 else f", of the chip's square of side {side:g} at ({left:g}, {top:g})"
    pixels = f"{spec.input_size} × {spec.input_size}"
    return f"{pixels} {normalisation(spec.colour, spec.mean, spec.std)}{part}"


def normalisation(colour: str, mean: tuple[float, ...], std: tuple[float, ...]) -> str:
    """Describe colour order and normalisation, such as ``RGB, (0-255 - 127.5) / 127.5``."""
    values = f"(0-255 - {_short(mean)})" if any(mean) else "0-255"
    return f"{colour if colour == 'grey' else colour.upper()}, {values} / {_short(std)}"


def _look(path: Path, likely: zoo.WeightSet | None) -> tuple[str, tuple[str, ...]]:
    """Load a file; return a description of it and the architectures that it fits."""
    if likely is not None and likely.kind == "face points":
        return _face_points(path), (likely.architecture,)
    if likely is not None and likely.kind == "face detector":
        return _yunet(path), (likely.architecture,)
    graph = _graph_of_data(path)
    if graph is not None:
        return f"weights of {graph.name}, which loads with them", ()
    kind = file_kind(path)
    if kind == "onnx":
        return _onnx(path)
    state = read_dlib_resnet(path) if kind == "dlib" else load_state(path)
    strange = [key for key, value in state.items() if not torch.isfinite(value).all()]
    if strange:
        raise WeightsError(f"{len(strange)} tensors hold values that are not finite ({strange[0]}, …)")
    fits = [fit for fit in recognise(state) if fit.complete]
    if not fits:
        raise WeightsError(f"not recognised. {nearest(state)}")
    names = tuple(fit.architecture for fit in fits)
    if likely is not None and likely.architecture in names:
        names = (likely.architecture,)
    spec = get(names[0])
    spec = spec.of_checkpoint(spec, state)
    with torch.device("meta"):
        module = spec.build()
    load_into(module, state, spec.name, path, (*spec.classifier, CLASS_LAYER))
    return f"{' or '.join(names)}, {fits[0].wanted} tensors, {spec.features} features", names


def _compare(path: Path, digests: dict[str, str], named: zoo.WeightSet | None) -> str:
    """Compare the checksum of an unpublished file with its card, and return the result in words.

    Raises:
        WeightsError: the checksum differs from the card's, or from the published one of that name.
    """
    if named is not None and named.checksum is not None and path.suffix != ".safetensors":
        kind, _, expected = named.checksum.partition(":")
        raise WeightsError(
            f"it loads, but is not the file published as {named.name}: expected {kind} {expected}, "
            f"found {digests[kind]}; fetch it again, or rename it if someone else trained it"
        )
    card = {} if path.suffix == ".onnx" else read_card(path)  # ONNX files have a different kind of card
    recorded = card.get("sha256")
    if recorded is None:
        return "not known"
    if recorded != digests["sha256"]:
        raise WeightsError(
            f"its card says SHA-256 {recorded}, found {digests['sha256']}; it was changed or damaged"
        )
    return "as its card says"


def _face_points(path: Path) -> str:
    import dlib

    try:
        dlib.shape_predictor(str(path))
    except RuntimeError as error:
        raise WeightsError(f"{path}: not a face landmark model of dlib, or damaged ({error})") from error
    return "face points of dlib"


def _onnx(path: Path) -> tuple[str, tuple[str, ...]]:
    from ...extract.backbones.onnx_net import open_onnx

    inputs, outputs = _graph(path)
    if "kps_8" in outputs:
        return _yunet(path), ("yunet",)
    if len(inputs) != 1 or len(outputs) != 1:
        raise _Other(f"ONNX graph of {_tensors(inputs)} to {_tensors(outputs)}; nothing here uses it")
    spec, _, _ = open_onnx(path)
    return f"ONNX face network, {spec.input_size} × {spec.input_size}, {spec.features} features", ("onnx",)


def _yunet(path: Path) -> str:
    import cv2

    from ...extract.detectors.yunet import YuNetDetector

    try:
        YuNetDetector(path)(np.zeros((240, 320, 3), np.uint8))
    except cv2.error as error:
        raise WeightsError(f"{path}: an ONNX file that OpenCV reads, but not YuNet") from error
    return "face detector yunet"


def _graph(path: Path) -> tuple[dict[str, list[Any]], dict[str, list[Any]]]:
    """Return names and shapes of a graph's inputs and outputs; None is a dynamic dimension."""
    try:
        import onnx
    except ImportError as error:
        raise _Other("ONNX; to check it: pip install 'avemo[onnx]'") from error
    try:
        graph = onnx.load(path, load_external_data=False).graph
    except Exception as error:  # protobuf's own error class, not exported by onnx
        raise WeightsError(f"{path}: a damaged or truncated ONNX file; fetch it again") from error
    weights = {tensor.name for tensor in graph.initializer}
    inputs = {value.name: _shape(value) for value in graph.input if value.name not in weights}
    return inputs, {value.name: _shape(value) for value in graph.output}


def _shape(value: Any) -> list[Any]:
    return [side.dim_value or None for side in value.type.tensor_type.shape.dim]


def _tensors(shapes: dict[str, list[Any]]) -> str:
    sides = {
        name: " × ".join("any" if side is None else str(side) for side in s) for name, s in shapes.items()
    }
    return ", ".join(f"{name} {shape}" for name, shape in sides.items())


def _graph_of_data(path: Path) -> Path | None:
    """Return the ONNX file whose external data ``path`` holds; None if it is not named like external data."""
    from ...extract.backbones.onnx_net import open_onnx

    graph = path.with_suffix("")
    if path.suffix != ".data" or not graph.is_file() or file_kind(graph) != "onnx":
        return None
    if sha256_of(path) not in open_onnx(graph)[2].split("+"):
        raise _Other(f"named as weights of {graph.name}, which holds all of its own; nothing here uses it")
    return graph


def _short(values: tuple[float, ...]) -> str:
    if len(set(values)) == 1:
        return f"{values[0]:g}"
    return f"({', '.join(f'{value:g}' for value in values)})"
