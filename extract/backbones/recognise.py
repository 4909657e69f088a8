"""Identifies the network that a checkpoint belongs to, by the names and shapes of its tensors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from .registry import get, names
from .spec import BackboneSpec
from .weights import CLASS_LAYER

Shapes = dict[str, tuple[int, ...]]

_NEAREST = 3


@dataclass(frozen=True)
class CheckpointMatch:
    """How well a checkpoint fits a network.

    The network ``architecture`` has ``wanted`` tensors, of which ``matching`` are in the checkpoint with the
    same name and shape. The checkpoint has ``extra`` other tensors, not counting layers above the features.
    """

    architecture: str
    matching: int
    wanted: int
    extra: int

    @property
    def complete(self) -> bool:
        """Whether the checkpoint loads into the network."""
        return self.matching == self.wanted and self.extra == 0

    @property
    def share(self) -> float:
        """Matching tensors as a share of all tensors on either side, 0-1."""
        return self.matching / (self.wanted + self.extra)

    def __str__(self) -> str:
        extra = f", {self.extra} more" if self.extra else ""
        return f"{self.architecture} ({self.matching} of {self.wanted} tensors{extra})"


def recognise(state: Mapping[str, Tensor]) -> list[CheckpointMatch]:
    """Return the registry's networks that share a tensor with ``state``, best match first.

    Networks that differ only in their input match equally well; they come in the registry's order.
    """
    given = {key: tuple(value.shape) for key, value in state.items() if not _is_counter(key)}
    fits = [_fit(name, given, state) for name in names()]
    return sorted((fit for fit in fits if fit.matching), key=lambda fit: fit.share, reverse=True)


def nearest(state: Mapping[str, Tensor]) -> str:
    """Return a sentence, for an error, that names the networks nearest to ``state``."""
    fits = recognise(state)
    if fits:
        return f"The nearest networks are {', '.join(map(str, fits[:_NEAREST]))}"
    return "No network of avemo has tensors of these names and shapes"


def _fit(name: str, given: Shapes, state: Mapping[str, Tensor]) -> CheckpointMatch:
    spec = get(name).of_checkpoint(get(name), state)
    wanted = _shapes(name) if spec == get(name) else _shapes_of(spec)
    matching = sum(given.get(key) == shape for key, shape in wanted.items())
    above = (*get(name).classifier, CLASS_LAYER)
    extra = sum(key not in wanted and not key.startswith(above) for key in given)
    return CheckpointMatch(name, matching, len(wanted), extra)


@cache
def _shapes(name: str) -> Shapes:
    return _shapes_of(get(name))


def _shapes_of(spec: BackboneSpec) -> Shapes:
    with torch.device("meta"):
        state = spec.build().state_dict()
    return {key: tuple(value.shape) for key, value in state.items() if not _is_counter(key)}


def _is_counter(key: str) -> bool:
    """Whether it is a batch norm's batch counter, unused in inference and missing in some checkpoints."""
    return key.endswith("num_batches_tracked")
