"""Specifications of face networks, known before their weights are read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from ..precision import IN_INT8, Precision, resolve_precision
from .weights import State, load_state

if TYPE_CHECKING:
    import torch
    from torch import nn

ONNX = "onnx"
"""Name of face networks in ONNX files."""

TIMM = "timm:"
"""Prefix of the names of timm's networks."""

INT8 = "oneDNN, ranges of batch norms, 1"
"""How int8 is computed; raise the number when values change."""

Colour = Literal["rgb", "bgr", "grey"]

IMAGENET_MEAN = (123.675, 116.28, 103.53)
IMAGENET_STD = (58.395, 57.12, 57.375)


class Shaped(Protocol):
    """Anything with a tensor's shape."""

    @property
    def shape(self) -> Sequence[int]: ...


def as_it_is(spec: BackboneSpec, state: Mapping[str, Shaped]) -> BackboneSpec:
    """Return ``spec`` unchanged: the network does not depend on the checkpoint."""
    return spec


@dataclass(frozen=True)
class BackboneSpec:
    """A face network: its input, its output and its origin.

    The input of the network is ``(view - mean) / std``, where ``view`` holds 0-255 values of
    ``input_size`` × ``input_size`` pixels. Its channels, ``mean`` and ``std`` are in the order ``colour``;
    ``"grey"`` is one channel. The output is ``[N, features]``, taken at ``layer``.

    ``build`` builds the module; its parameters have the names that public checkpoints use, so loading
    renames nothing. Checkpoint keys that begin with one of ``classifier`` belong to layers above the
    features and are dropped.
    ``source`` is the paper, the code and its licence, for people.
    ``default_weights`` finds the weights file if it comes with an installed package.
    ``twin`` names a network with the same tensors, whose weights also fit this one.
    ``window`` is the square of the chip that it sees: left, top and side, as shares of the chip's side.
    ``of_checkpoint`` returns the spec that fits a checkpoint, if its tensors determine the input size.
    ``bf16`` is false if bf16 distorts the features or gains nothing; ``auto`` then means fp32.
    """

    name: str
    features: int
    input_size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    layer: str
    build: Callable[[], nn.Module]
    source: str
    colour: Colour = "rgb"
    classifier: tuple[str, ...] = ()
    read: Callable[[Path], State] = load_state
    default_weights: Callable[[], Path] | None = None
    of_checkpoint: Callable[[BackboneSpec, Mapping[str, Shaped]], BackboneSpec] = as_it_is
    twin: str = ""
    bf16: bool = True
    window: tuple[float, float, float] = (0.0, 0.0, 1.0)

    def resolved(self, precision: str, device: torch.device | str) -> Precision:
        """Return the precision to use; see :func:`.precision.resolve_precision`."""
        return resolve_precision(precision, device, self.bf16, self.name in IN_INT8)

    def settings(self, weights_sha256: str, precision: str) -> dict[str, Any]:
        """Return all settings that affect the features, for their key."""
        settings = {
            "name": self.name,
            "weights_sha256": weights_sha256,
            "layer": self.layer,
            "input_size": self.input_size,
            "window": list(self.window),
            "colour": self.colour,
            "mean": list(self.mean),
            "std": list(self.std),
            "precision": precision,
        }
        return {**settings, "int8": INT8} if precision == "int8" else settings
