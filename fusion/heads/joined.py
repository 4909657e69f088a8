"""Heads that concatenate streams, or average the posteriors of single streams."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..features.recipes import AUDIO, VISUAL
from ..training.batches import Batch
from .base import AttentiveHead, EmbeddingHead, register
from .dropout import Dropout
from .settings import HeadSettings


class JoinedHead(EmbeddingHead):
    """Concatenates the attended streams, then applies dropout and a linear classifier."""

    uses = frozenset({"dropout"})

    def __init__(self, settings: HeadSettings, features: Mapping[str, int], classes: int) -> None:
        super().__init__(settings, features, classes)
        self.dropout = Dropout(settings.dropout)
        self.classify = nn.Linear(sum(self.sizes.values()), classes)

    def embed(self, batch: Batch) -> Tensor:
        """Return the attended streams ``[N, ΣD']``, with dropout in training."""
        return cast(Tensor, self.dropout(torch.cat(list(self.attend(batch).values()), dim=-1)))


@register
class ConcatHead(JoinedHead):
    """Concatenates both streams (zhou2019 §3.3; with encoders, "encoder concat" of zhou2021 table VI)."""

    name = "concat"
    streams = (VISUAL, AUDIO)


@register
class AudioHead(JoinedHead):
    """Classifies the sound only."""

    name = "audio"
    streams = (AUDIO,)


@register
class FacesHead(JoinedHead):
    """Classifies the pictures only."""

    name = "faces"
    streams = (VISUAL,)


@register
class DecisionHead(AttentiveHead):
    """Averages the posteriors of two single-stream heads ("decision fusion" of zhou2021 table VI).

    The mean is weighted, and each stream is trained independently. If a clip lacks a stream, the other one
    gets all the weight.
    """

    name = "decision"
    streams = (VISUAL, AUDIO)
    options: ClassVar[Mapping[str, Any]] = {"decision_weight": 0.5}
    uses = frozenset({"dropout"})
    weight: Tensor

    def __init__(self, settings: HeadSettings, features: Mapping[str, int], classes: int) -> None:
        super().__init__(settings, features, classes)
        assert settings.decision_weight is not None
        self.dropout = Dropout(settings.dropout)
        self.classify = nn.ModuleDict({name: nn.Linear(size, classes) for name, size in self.sizes.items()})
        self.register_buffer("weight", torch.tensor(float(settings.decision_weight)), persistent=False)

    def judge(self, batch: Batch) -> Tensor:
        """Return the logits of each stream, ``[N, 2, C]``, pictures first."""
        attended = self.attend(batch)
        return torch.stack([self.classify[s](self.dropout(attended[s])) for s in self.streams], dim=1)

    def mix(self, judged: Tensor, batch: Batch) -> Tensor:
        """Return the log of the weighted mean posteriors, ``[N, C]``; softmax gives back the posteriors."""
        present = torch.stack([batch[stream].mask.any(dim=1) for stream in self.streams], dim=1)
        wanted = torch.stack([1 - self.weight, self.weight])
        weights = wanted * present
        weights = torch.where(weights.sum(dim=1, keepdim=True) > 0, weights, wanted)
        shares = weights / weights.sum(dim=1, keepdim=True)
        return torch.logsumexp(judged.log_softmax(dim=-1) + shares.log().unsqueeze(-1), dim=1)

    def forward(self, batch: Batch) -> Tensor:
        """Return logits ``[N, C]``."""
        return self.mix(self.judge(batch), batch)

    def criterion(self, batch: Batch, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mean of the two streams' losses, so that neither affects the other, and the logits."""
        judged = self.judge(batch)
        losses = functional.cross_entropy(judged.flatten(0, 1), targets.repeat_interleave(judged.shape[1]))
        return losses, self.mix(judged, batch)
