"""Settings of heads: plain values, kept in a run's card."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from ..errors import FusionError
from ..features.recipes import AUDIO, VISUAL
from .encoders import EncoderSettings


@dataclass(frozen=True)
class TrunkSettings:
    """How a clip is cut and its trunks are pooled (zhou2021 §III-E; the numbers of §IV for AFEW).

    Attributes:
        count: H.
        outputs, factors: O and K_M.
        seconds: length of a trunk; None for the clip's own length over H. See :func:`.trunks.cut`.
    """

    count: int = 6
    outputs: int = 192
    factors: int = 2
    seconds: float | None = None


MAJORITY, MEAN = "majority", "mean"


@dataclass(frozen=True)
class SegmentSettings:
    """Settings of the segment head and its vote (priyasad2019 §3.3-3.4).

    Attributes:
        lstm: values of the LSTM's output; 4096 in the paper.
        dense: values of a dense layer before the final one, after which a ReLU follows; 0 for none. The paper
            draws several and prints no sizes.
        vote: ``majority`` of the segments, or the ``mean`` of their posteriors.
    """

    lstm: int = 128
    dense: int = 0
    vote: str = MAJORITY

    def __post_init__(self) -> None:
        if self.vote not in (MAJORITY, MEAN):
            raise FusionError(f"no vote by {self.vote!r}; there are {MAJORITY} and {MEAN}")


@dataclass(frozen=True)
class HeadSettings:
    """Everything about a head but its inputs and classes.

    Some heads only read ``trunks``, ``whole``, ``segments``, ``ag_norm``, ``classifier_dropout`` and
    ``decision_weight``. In these, None stands for the head's own default; the others take nothing else.

    Attributes:
        fusion: name in :data:`.heads.HEADS`.
        visual_attention, audio_attention: names in :data:`.attention.ATTENTIONS`.
        dropout: share dropped in training, where the papers have it: of the products that bilinear pooling
            sums (zhou2019, fig. 2), of what other heads classify, and of the frames that self and relation
            attention compute their weights from (the code of zhou2019's authors).
        attention_dropout: the share in any attention; None for ``dropout`` in self and relation attention,
            and none in transformer and conv attention, of which the papers say nothing.
        classifier_dropout: of bilinear heads: the share of the pooled values, none if None.
        hidden: m of zhou2019 eq. (5), and of priyasad2019 eq. (5).
        outputs, factors: O and K of factorized bilinear pooling (zhou2021 §IV: 128 and 4).
        bias: whether its projections have biases.
        lambda_visual, lambda_audio: λ of the attentions that have one.
        signed_sqrt: whether pooled values have their signed square root taken.
        visual_encoder, audio_encoder: what is trained before a stream's attention, if anything.
        trunks: of heads that cut a clip into trunks.
        whole: of M-FBP: whether G-FBP of the whole clip stands beside what its trunks give.
        segments: of the head that reads segments.
        ag_norm: of heads with adaption factors: whether the whole clip's pooling is divided by its length.
        decision_weight: of decision fusion: the weight of the sound, 0 to 1; 1 less that is the pictures'.
    """

    fusion: str = "fbp"
    visual_attention: str = "transformer"
    audio_attention: str = "transformer"
    dropout: float = 0.3
    hidden: int = 128
    outputs: int = 128
    factors: int = 4
    bias: bool = True
    lambda_visual: float = 1.0
    lambda_audio: float = 1.0
    signed_sqrt: bool = False
    visual_encoder: EncoderSettings | None = None
    audio_encoder: EncoderSettings | None = None
    trunks: TrunkSettings | None = None
    whole: bool | None = None
    segments: SegmentSettings | None = None
    ag_norm: bool | None = None
    decision_weight: float | None = None
    attention_dropout: float | None = None
    classifier_dropout: float | None = None

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> HeadSettings:
        """Of what :meth:`described` gave; what is not there is at its default.

        Raises:
            TypeError: there is something in it that this version does not know.
        """
        nested = {name: kind(**values[name]) for name, kind in _NESTED.items() if name in values}
        return cls(**{**values, **nested})

    def described(self) -> dict[str, Any]:
        """As JSON values, without what is None."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    def attention(self, stream: str) -> str:
        """The attention over ``visual`` or ``audio``."""
        return {VISUAL: self.visual_attention, AUDIO: self.audio_attention}[stream]

    def encoder(self, stream: str) -> EncoderSettings | None:
        """What is trained before the attention over ``visual`` or ``audio``."""
        return {VISUAL: self.visual_encoder, AUDIO: self.audio_encoder}[stream]

    def temperature(self, stream: str) -> float:
        """λ of the attention over ``visual`` or ``audio``."""
        return {VISUAL: self.lambda_visual, AUDIO: self.lambda_audio}[stream]


_NESTED = {
    "visual_encoder": EncoderSettings,
    "audio_encoder": EncoderSettings,
    "trunks": TrunkSettings,
    "segments": SegmentSettings,
}

ALL = frozenset(field.name for field in fields(HeadSettings))
OPTIONAL = frozenset(  # what only some heads read
    {"trunks", "whole", "segments", "ag_norm", "classifier_dropout", "decision_weight"}
)
ATTENDING = frozenset(  # what only those with attention read
    {
        "visual_attention",
        "audio_attention",
        "lambda_visual",
        "lambda_audio",
        "visual_encoder",
        "audio_encoder",
        "attention_dropout",
    }
)
