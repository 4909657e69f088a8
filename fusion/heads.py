"""Heads: the streams of a batch in, class logits out.

A new head is a class with a ``name`` and the ``streams`` it reads, decorated with :func:`register`.
A clip that lacks a stream gives that stream's attention no frame and so a vector of zeros: a fused
head then judges by the other stream (for ``fbp`` through the biases of its projections), and a head
of the one missing stream by its class biases alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from .attention import attention_class
from .batches import Batch
from .bilinear import FactorizedBilinearPooling
from .errors import FusionError
from .features import AUDIO, VISUAL


@dataclass(frozen=True)
class HeadSettings:
    """Everything about a head but its inputs and classes.

    Attributes:
        fusion: name in :data:`HEADS`.
        visual_attention, audio_attention: names in :data:`.attention.ATTENTIONS`.
        dropout: share dropped in training, in attention, pooling and classifier.
        hidden: m of zhou2019 eq. (5).
        outputs, factors: O and K of factorized bilinear pooling (zhou2021 §IV: 128 and 4).
        bias: whether its projections have biases.
    """

    fusion: str = "fbp"
    visual_attention: str = "transformer"
    audio_attention: str = "transformer"
    dropout: float = 0.3
    hidden: int = 128
    outputs: int = 128
    factors: int = 4
    bias: bool = True

    def attention(self, stream: str) -> str:
        """The attention over ``visual`` or ``audio``."""
        return {VISUAL: self.visual_attention, AUDIO: self.audio_attention}[stream]


class Head(nn.Module):
    """Attention over each stream that the head reads; subclasses fuse and classify.

    Args:
        settings: see :class:`HeadSettings`.
        features: D of each stream.
        classes: C.
    """

    name: ClassVar[str]
    streams: ClassVar[tuple[str, ...]]

    def __init__(self, settings: HeadSettings, features: Mapping[str, int], classes: int) -> None:
        super().__init__()
        attentions = {
            stream: attention_class(settings.attention(stream))(
                features[stream], settings.dropout, settings.hidden
            )
            for stream in self.streams
        }
        self.attention = nn.ModuleDict(attentions)
        self.sizes = {stream: attention.out_features for stream, attention in attentions.items()}

    def attend(self, batch: Batch) -> dict[str, Tensor]:
        """One vector ``[N, D']`` a stream."""
        return {stream: self.attention[stream](*batch[stream]) for stream in self.streams}

    def forward(self, batch: Batch) -> Tensor:
        """Logits ``[N, C]``."""
        raise NotImplementedError


HEADS: dict[str, type[Head]] = {}


def register(head: type[Head]) -> type[Head]:
    """Make ``head`` known by its name."""
    HEADS[head.name] = head
    return head


def head_class(name: str) -> type[Head]:
    """The head called ``name``.

    Raises:
        FusionError: there is none.
    """
    if name not in HEADS:
        raise FusionError(f"there is no fusion {name!r}; there are {', '.join(HEADS)}")
    return HEADS[name]


def build_head(settings: HeadSettings, features: Mapping[str, int], classes: int) -> Head:
    """The head that ``settings`` ask for.

    Raises:
        FusionError: there is no such head or attention.
    """
    return head_class(settings.fusion)(settings, features, classes)


@register
class BilinearHead(Head):
    """Factorized bilinear pooling of both streams, then a linear classifier (zhou2019 eq. 8-9, fig. 2)."""

    name = "fbp"
    streams = (VISUAL, AUDIO)

    def __init__(self, settings: HeadSettings, features: Mapping[str, int], classes: int) -> None:
        super().__init__(settings, features, classes)
        self.pool = FactorizedBilinearPooling(
            self.sizes[AUDIO],
            self.sizes[VISUAL],
            settings.outputs,
            settings.factors,
            settings.dropout,
            settings.bias,
        )
        self.classify = nn.Linear(settings.outputs, classes)

    def forward(self, batch: Batch) -> Tensor:
        """Logits ``[N, C]``."""
        attended = self.attend(batch)
        return self.classify(self.pool(attended[AUDIO], attended[VISUAL]))


class JoinedHead(Head):
    """The attended streams side by side, dropout, a linear classifier."""

    def __init__(self, settings: HeadSettings, features: Mapping[str, int], classes: int) -> None:
        super().__init__(settings, features, classes)
        self.dropout = nn.Dropout(settings.dropout)
        self.classify = nn.Linear(sum(self.sizes.values()), classes)

    def forward(self, batch: Batch) -> Tensor:
        """Logits ``[N, C]``."""
        return self.classify(self.dropout(torch.cat(list(self.attend(batch).values()), dim=-1)))


@register
class ConcatHead(JoinedHead):
    """Both streams, concatenated (zhou2019 §3.3)."""

    name = "concat"
    streams = (VISUAL, AUDIO)


@register
class AudioHead(JoinedHead):
    """Sound only."""

    name = "audio"
    streams = (AUDIO,)


@register
class FacesHead(JoinedHead):
    """Pictures only."""

    name = "faces"
    streams = (VISUAL,)
