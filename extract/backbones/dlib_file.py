"""Reads dlib's serialised networks as plain data.

The format (dlib's ``serialize.h``, ``dnn/core.h``, ``dnn/layers.h``): an integer is a control byte
(its low four bits are the number of bytes that follow, little-endian; its top bit is the sign), a real
is a mantissa and an exponent of two, a text is its length and bytes, a flag is ``'0'`` or ``'1'``, a
tensor is a version, four dimensions and raw little-endian float32. A network lists the versions of its
nested layers from the outermost inwards, then its input layer, then each layer from the innermost
outwards.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import WeightsError

_INNERMOST_LAYER = 3
_TENSOR_VERSION = 2

# The fields of each kind of layer, in order, as methods of the reader.
_FIELDS: dict[str, tuple[str, ...]] = {
    "con_4": ("tensor", *["integer"] * 7, "shape", "shape", *["real"] * 4),
    "affine_": ("tensor", "shape", "shape", "integer"),
    "relu_": (),
    "max_pool_2": ("integer",) * 6,
    "avg_pool_2": ("integer",) * 6,
    "add_prev_": (),
    "fc_2": ("integer", "integer", "tensor", "shape", "shape", "integer", *["real"] * 4),
}
# The end of every layer: three training flags, and three tensors that are empty in a cleaned network.
_LAYER_END = ("flag", "flag", "flag", "tensor", "tensor", "tensor")


@dataclass(frozen=True)
class DlibLayer:
    """A layer's kind (``con_4``, ``affine_``, …) and its fields, in dlib's order."""

    kind: str
    fields: tuple[Any, ...]


@dataclass(frozen=True)
class DlibNetwork:
    """The input's mean (red, green, blue in 0-255) and size (rows, columns), and the layers in order."""

    mean: tuple[float, ...]
    size: tuple[int, int]
    layers: tuple[DlibLayer, ...]

    def of_kind(self, kind: str) -> list[DlibLayer]:
        return [layer for layer in self.layers if layer.kind == kind]


def read_dlib_network(path: str | Path) -> DlibNetwork:
    """Read a network of ``loss_metric_2`` over ``input_rgb_image_sized``.

    Raises :class:`WeightsError` if the file is absent or is anything else.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise WeightsError(f"{path}: the weights file cannot be read ({error.strerror})") from error
    try:
        return _read_network(_Reader(content))
    except ValueError as error:
        raise WeightsError(
            f"{path}: not a face network of dlib, or a damaged one ({error}); fetch it again"
        ) from error


def _read_network(reader: _Reader) -> DlibNetwork:
    reader.integer()  # the version of the loss layer
    reader.expect("loss_metric_2")
    for _ in ("margin", "distance threshold"):
        reader.real()
    while reader.integer() != _INNERMOST_LAYER:
        pass
    reader.expect("input_rgb_image_sized")
    mean = (reader.real(), reader.real(), reader.real())
    size = (reader.integer(), reader.integer())
    layers = [_read_layer(reader)]
    reader.integer()  # the innermost layer's sample expansion factor
    while not reader.at_end():
        layers.append(_read_layer(reader))
    return DlibNetwork(mean, size, tuple(layers))


def _read_layer(reader: _Reader) -> DlibLayer:
    kind = reader.text()
    if kind not in _FIELDS:
        raise ValueError(f"unknown layer {kind!r} at byte {reader.position}")
    fields = tuple(getattr(reader, field)() for field in _FIELDS[kind])
    for field in _LAYER_END:
        getattr(reader, field)()
    return DlibLayer(kind, fields)


class _Reader:
    """Reads dlib's basic types in sequence; raises :class:`ValueError` past the end or on invalid data."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self.position = 0

    def at_end(self) -> bool:
        return self.position == len(self._content)

    def take(self, count: int) -> bytes:
        start, end = self.position, self.position + count
        if end > len(self._content):
            raise ValueError(f"{count} bytes expected at byte {start}, but it has only {len(self._content)}")
        self.position = end
        return self._content[start:end]

    def integer(self) -> int:
        (control,) = self.take(1)
        count = control & 0x0F
        if not 1 <= count <= 8:
            raise ValueError(f"no integer at byte {self.position - 1}")
        value = int.from_bytes(self.take(count), "little")
        return -value if control & 0x80 else value

    def real(self) -> float:
        mantissa, exponent = self.integer(), self.integer()
        if abs(exponent) > 1100:
            raise ValueError(f"no finite real before byte {self.position}")
        return math.ldexp(mantissa, exponent)

    def text(self) -> str:
        return self.take(max(self.integer(), 0)).decode("ascii")

    def expect(self, text: str) -> None:
        found = self.text()
        if found != text:
            raise ValueError(f"found {found!r}, expected {text!r}")

    def flag(self) -> bool:
        return self.take(1) == b"1"

    def shape(self) -> tuple[int, ...]:
        self.integer()  # version
        return self._dimensions()

    def tensor(self) -> Tensor:
        if (version := self.integer()) != _TENSOR_VERSION:
            raise ValueError(f"a tensor of version {version} before byte {self.position}")
        shape = self._dimensions()
        values = np.frombuffer(self.take(4 * math.prod(shape)), "<f4").astype(np.float32)
        return torch.from_numpy(values).reshape(shape)

    def _dimensions(self) -> tuple[int, ...]:
        dimensions = tuple(self.integer() for _ in range(4))
        if min(dimensions) < 0:
            raise ValueError(f"negative dimensions before byte {self.position}")
        return dimensions
