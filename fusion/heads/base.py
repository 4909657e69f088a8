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
    """Base class of heads, which map the streams of a batch to logits.

    Args:
        settings: complete settings; see :func:`.registry.complete`.
        features: D of each stream.
        classes: C.

    Attributes:
        version: increased when the same settings and tensors would give different scores.
        streams: streams that the head reads.
        reads: stream → names of readable features, best first; any feature for streams not listed.
        preset: settings of the head's paper that differ from the defaults.
        options: defaults of optional settings (:data:`.OPTIONAL`) that this head reads.
        uses: other settings that the head itself reads, for :meth:`acting`; None if undeclared.
        attends: whether the head has encoders and attentions.
        stackable: whether members can be trained as one batched model; see :mod:`.stack`.
        cost: approximate time per clip, relative to most heads.
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
        """Return the names of the :class:`.HeadSettings` fields that affect the output of this head.

        If the head does not declare :attr:`uses`, these are all fields except optional ones that it does not
        read, and those of attention if it has none.
        """
        if cls.uses is not None:
            return frozenset({"fusion", *cls.uses, *cls.options})
        return ALL - (OPTIONAL - cls.options.keys()) - (frozenset() if cls.attends else ATTENDING)

    def start_from(self, weights: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Load pretrained encoder weights: stream → tensors by their names in the file.

        Raises:
            FusionError: the weights do not fit.
        """

    def forward(self, batch: Batch) -> Tensor:
        """Return logits ``[N, C]``."""
        raise NotImplementedError

    def criterion(self, batch: Batch, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Return the training loss, and the logits ``[N, C]``."""
        logits = self(batch)
        return functional.cross_entropy(logits, targets), logits


class AttentiveHead(Head):
    """Base class of heads with an optional encoder and an attention for each stream.

    Subclasses fuse the attended streams and classify them.
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
        """Return the attention over ``visual`` or ``audio``."""
        return cast(Attention, self.attention[stream])

    def encode(self, batch: Batch) -> dict[str, Padded]:
        """Return the streams that the head reads, encoded if there is an encoder."""
        return {
            stream: self.encoders[stream](batch[stream]) if stream in self.encoders else batch[stream]
            for stream in self.streams
        }

    def attend(self, batch: Batch) -> dict[str, Tensor]:
        """Return stream → attended vectors ``[N, D']``."""
        encoded = self.encode(batch)
        return {
            name: self.attention_over(name)(stream.values, stream.mask) for name, stream in encoded.items()
        }

    def start_from(self, weights: Mapping[str, Mapping[str, Tensor]]) -> None:
        for stream, encoder in self.encoders.items():
            if stream in weights:
                cast(ConvolutionalEncoder, encoder).start_from(weights[stream])


class EmbeddingHead(AttentiveHead):
    """Base class of heads that fuse the attended streams into one embedding and classify it linearly.

    Attributes:
        adaptive: whether the streams are weighted by adaption factors (zhou2021 eq. 15-17).
    """

    adaptive: ClassVar[bool] = False
    classify: nn.Linear

    def __init__(self, settings: HeadSettings, features: Mapping[str, int], classes: int) -> None:
        super().__init__(settings, features, classes)
        self.classifier_dropout = optional(settings.classifier_dropout or 0.0)

    def embed(self, batch: Batch) -> Tensor:
        """Return the embedding ``[N, E]``, the input of the classifier."""
        raise NotImplementedError

    def forward(self, batch: Batch) -> Tensor:
        """Return logits ``[N, C]``."""
        embedding = self.embed(batch)
        if self.classifier_dropout is not None:
            embedding = self.classifier_dropout(embedding)
        return cast(Tensor, self.classify(embedding))


HEADS: dict[str, type[Head]] = {}


def register(head: type[Head]) -> type[Head]:
    """Add ``head`` to :data:`HEADS` under its name."""
    HEADS[head.name] = head
    return head
