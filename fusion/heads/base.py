"""Base classes of heads: inputs, encoders, attention and loss."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, cast

from torch import Tensor, nn
from torch.nn import functional

from ..training.batches import Batch, Padded
from .attention import Attention, attention_class
from .dropout import optional
from .encoders import ConvolutionalEncoder, build_encoder
from .settings import ALL, ATTENDING, OPTIONAL, HeadSettings


class Head(nn.Module):
    """Maps the streams of a batch to logits.

    Args:
        settings: complete, see :func:`.heads.complete`.
        features: D of each stream.
        classes: C.

    Attributes:
        version: goes up when the same settings and tensors come to mean other scores.
        streams: what it reads.
        reads: names of the features that it can read of a stream, best first, where not any will do.
        preset: the settings of its paper that differ from the defaults.
        options: defaults of the settings that only some heads, and this one, read.
        uses: the other settings that the head itself reads, for :meth:`acting`; None where it does not say.
        attends: whether it has encoders and attentions, for settings to be about.
        stackable: whether members can be trained as one, see :mod:`.stack`.
        cost: how many times longer than with most heads a clip takes, about.
    """

    name: ClassVar[str]
    version: ClassVar[int] = 1
    streams: ClassVar[tuple[str, ...]]
    reads: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    preset: ClassVar[Mapping[str, Any]] = {}
    options: ClassVar[Mapping[str, Any]] = {}
    uses: ClassVar[frozenset[str] | None] = None
    attends: ClassVar[bool] = False
    stackable: ClassVar[bool] = True
    cost: ClassVar[int] = 1

    def __init__(self, settings: HeadSettings, features: Mapping[str, int], classes: int) -> None:
        super().__init__()

    @classmethod
    def acting(cls, settings: HeadSettings) -> frozenset[str]:
        """Names of the fields of :class:`.HeadSettings` that change what a head of ``settings`` computes: all
        but those of :attr:`options`' kind that it lacks, for a head that does not say what it uses.
        """
        if cls.uses is not None:
            return frozenset({"fusion", *cls.uses, *cls.options})
        return ALL - (OPTIONAL - cls.options.keys()) - (frozenset() if cls.attends else ATTENDING)

    def start_from(self, weights: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Give the encoders tensors to start from: stream → tensors by their names in their file.

        Raises:
            FusionError: they do not fit.
        """

    def forward(self, batch: Batch) -> Tensor:
        """Logits ``[N, C]``."""
        raise NotImplementedError

    def criterion(self, batch: Batch, targets: Tensor) -> tuple[Tensor, Tensor]:
        """What training makes small, and the logits ``[N, C]``."""
        logits = self(batch)
        return functional.cross_entropy(logits, targets), logits


class AttentiveHead(Head):
    """Encoders where asked for, and attention, over each stream that the head reads; subclasses fuse and
    classify.
    """

    attends = True

    def __init__(self, settings: HeadSettings, features: Mapping[str, int], classes: int) -> None:
        super().__init__(settings, features, classes)
        encoders = {
            stream: build_encoder(encoder, features[stream])
            for stream in self.streams
            if (encoder := settings.encoder(stream)) is not None
        }
        widths = {**features, **{stream: encoder.out_features for stream, encoder in encoders.items()}}
        attentions = {
            stream: attention_class(settings.attention(stream))(
                widths[stream],
                self._attention_dropout(settings, stream),
                settings.hidden,
                settings.temperature(stream),
            )
            for stream in self.streams
        }
        self.encoders = nn.ModuleDict(encoders)
        self.attention = nn.ModuleDict(attentions)
        self.sizes = {stream: attention.out_features for stream, attention in attentions.items()}

    @staticmethod
    def _attention_dropout(settings: HeadSettings, stream: str) -> float:
        if settings.attention_dropout is not None:
            return settings.attention_dropout
        return settings.dropout if attention_class(settings.attention(stream)).drops else 0.0

    @classmethod
    def acting(cls, settings: HeadSettings) -> frozenset[str]:
        acting = set(super().acting(settings))
        for stream in cls.streams:
            attention = attention_class(settings.attention(stream))
            acting |= {f"{stream}_attention", f"{stream}_encoder", "attention_dropout", *attention.uses}
            if attention.tempered:
                acting.add(f"lambda_{stream}")
        return frozenset(acting)

    def attention_over(self, stream: str) -> Attention:
        """The attention over ``visual`` or ``audio``."""
        return cast(Attention, self.attention[stream])

    def encode(self, batch: Batch) -> dict[str, Padded]:
        """The streams that the head reads, as attention does."""
        return {
            stream: self.encoders[stream](batch[stream]) if stream in self.encoders else batch[stream]
            for stream in self.streams
        }

    def attend(self, batch: Batch) -> dict[str, Tensor]:
        """One vector ``[N, D']`` a stream."""
        encoded = self.encode(batch)
        return {
            name: self.attention_over(name)(stream.values, stream.mask) for name, stream in encoded.items()
        }

    def start_from(self, weights: Mapping[str, Mapping[str, Tensor]]) -> None:
        for stream, encoder in self.encoders.items():
            if stream in weights:
                cast(ConvolutionalEncoder, encoder).start_from(weights[stream])


class EmbeddingHead(AttentiveHead):
    """Makes one embedding of the attended streams, and classifies that by a linear layer.

    Attributes:
        adaptive: whether it fuses the streams by their adaption factors (zhou2021 eq. 15-17).
    """

    adaptive: ClassVar[bool] = False
    classify: nn.Linear

    def __init__(self, settings: HeadSettings, features: Mapping[str, int], classes: int) -> None:
        super().__init__(settings, features, classes)
        self.classifier_dropout = optional(settings.classifier_dropout or 0.0)

    def embed(self, batch: Batch) -> Tensor:
        """``[N, E]``, what the classifier reads."""
        raise NotImplementedError

    def forward(self, batch: Batch) -> Tensor:
        """Logits ``[N, C]``."""
        embedding = self.embed(batch)
        if self.classifier_dropout is not None:
            embedding = self.classifier_dropout(embedding)
        return cast(Tensor, self.classify(embedding))


HEADS: dict[str, type[Head]] = {}


def register(head: type[Head]) -> type[Head]:
    """Make ``head`` known by its name."""
    HEADS[head.name] = head
    return head
