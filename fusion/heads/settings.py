"""Settings of heads: plain values, kept in a run's card. Importing this imports no network.

A field that ``--set KEY=VALUE`` and ``--grid`` take is declared by :func:`key`, with what it means;
``avemo-fuse heads`` and the shell's completion read that, so there is no second list.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from difflib import get_close_matches
from typing import Any

from ..errors import FusionError

MAJORITY, MEAN = "majority", "mean"
TRUE, FALSE = ("true", "yes", "on", "1"), ("false", "no", "off", "0")


@dataclass(frozen=True)
class Key:
    """A setting of heads that can be named on the command line.

    Attributes:
        kind: int, float, bool or str.
        text: what it means, in a sentence.
        source: paper and equation or section.
        default: where a head says nothing else; as a text where that depends on others.
        least: the smallest value; itself not allowed where ``above``.
        most, below: the largest value, and what all are below.
        choices: all values there are.
        name: on the command line.
        of: the field of :class:`HeadSettings`, and the field in that where it has several.
    """

    kind: type
    text: str
    source: str = ""
    default: Any = None
    least: float | None = None
    above: bool = False
    most: float | None = None
    below: float | None = None
    choices: Sequence[str] = ()
    name: str = ""
    of: tuple[str, ...] = ()

    @property
    def expected(self) -> str:
        """What a value is, in words."""
        if self.choices:
            return " or ".join(self.choices)
        if self.kind is bool:
            return "true or false"
        least = "" if self.least is None else f" {'above' if self.above else 'from'} {self.least:g}"
        most = "" if self.most is None else f" to {self.most:g}"
        below = "" if self.below is None else f" to below {self.below:g}"
        return f"a {'whole ' if self.kind is int else ''}number{least}{most}{below}"

    def fits(self, value: float) -> bool:
        """Whether a number is one of its values."""
        if not math.isfinite(value):
            return False
        whole = self.kind is float or value == int(value)
        low = self.least is None or value > self.least or (value == self.least and not self.above)
        return (
            whole
            and low
            and (self.most is None or value <= self.most)
            and (self.below is None or value < self.below)
        )

    def read(self, text: str) -> Any:
        """The value that a text says.

        Raises:
            FusionError: it says none.
        """
        if self.kind is bool and text.lower() in TRUE + FALSE:
            return text.lower() in TRUE
        if self.kind is str and text in self.choices:
            return text
        if self.kind in (int, float):
            try:
                value = float(text)
                if self.fits(value):
                    return self.kind(value)
            except ValueError:
                pass
        raise FusionError(f"{self.name} = {text}: expected {self.expected}")


def key(
    kind: type, text: str, source: str = "", default: Any = None, *, name: str = "", **limits: Any
) -> Any:
    """A field of settings that is a :class:`Key`, called ``name`` where that is not the field's own name."""
    shown = limits.pop("shown", default)
    return field(default=default, metadata={"key": Key(kind, text, source, shown, name=name, **limits)})


@dataclass(frozen=True)
class EncoderSettings:
    """An encoder before a stream's attention.

    Attributes:
        name: in :data:`.encoders.ENCODERS`.
        channels: of the stream's frames, ``D = channels × bins``: 1 for a spectrogram, 3 for log-Mel with
            its deltas, or for x, y, z of facial markers.
        weights: SHA-256 of the file that the training starts from; empty for random weights.
    """

    name: str
    channels: int = 1
    lrn: bool = key(
        bool,
        "Local response normalisation after each ReLU of an encoder.",
        "zhou2021 eq. 1, table I",
        True,
        shown="true in 1d-abfcn, false in 2d-abfcn",
    )
    weights: str = ""


@dataclass(frozen=True)
class TrunkSettings:
    """How a clip is cut and its trunks are pooled (zhou2021 §III-E; the numbers of §IV for AFEW)."""

    count: int = key(
        int, "H, the number of trunks a clip is cut into.", "zhou2021 §III-E", 6, name="trunks", least=1
    )
    outputs: int = key(
        int, "O of bilinear pooling over trunks.", "zhou2021 eq. 19, §IV", 192, name="trunk_outputs", least=1
    )
    factors: int = key(
        int, "K_M, factors per output over trunks.", "zhou2021 eq. 19, §IV", 2, name="trunk_factors", least=1
    )
    seconds: float | None = key(
        float,
        "Length of a trunk in seconds.",
        "zhou2021 §III-E",
        None,
        name="trunk_seconds",
        least=0,
        above=True,
        shown="the clip's length over H",
    )


@dataclass(frozen=True)
class SegmentSettings:
    """Settings of the segment head and its vote (priyasad2019 §3.3-3.4)."""

    lstm: int = key(int, "Size of the LSTM; 4096 in the paper.", "priyasad2019 §3.3", 128, least=1)
    dense: int = key(
        int,
        "Size of a dense layer with ReLU before the final one, 0 for none; the paper prints no sizes.",
        "priyasad2019 §3.4",
        0,
        least=0,
    )
    vote: str = key(
        str,
        "How segments decide a clip's class: by majority, or by the mean of their posteriors.",
        "priyasad2019 §3.4",
        MAJORITY,
        choices=(MAJORITY, MEAN),
    )

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
        visual_encoder, audio_encoder: what is trained before a stream's attention, if anything.
        trunks: of heads that cut a clip into trunks.
        segments: of the head that reads segments.
    """

    fusion: str = "fbp"
    visual_attention: str = "transformer"
    audio_attention: str = "transformer"
    dropout: float = 0.3
    hidden: int = key(
        int,
        "m, the reduced dimension in transformer attention and in that of segments.",
        "zhou2019 eq. 5; priyasad2019 eq. 5",
        128,
        least=1,
    )
    outputs: int = key(
        int,
        "O of bilinear pooling over the whole clip.",
        "zhou2021 eq. 12-14, §IV",
        128,
        least=1,
    )
    factors: int = key(int, "K, factors (products summed) per output.", "zhou2021 eq. 12-14, §IV", 4, least=1)
    bias: bool = key(bool, "Biases in the projections of bilinear pooling.", "zhou2019 eq. 8-9", True)
    lambda_visual: float = key(
        float,
        "λ of transformer and conv attention over faces: 0 is the plain mean, more is sharper.",
        "zhou2021 eq. 3-11",
        1.0,
        least=0,
    )
    lambda_audio: float = key(float, "λ of the attention over sound.", "zhou2021 eq. 3-6, §IV", 1.0, least=0)
    signed_sqrt: bool = key(bool, "The signed square root of pooled values.", "", False)
    visual_encoder: EncoderSettings | None = None
    audio_encoder: EncoderSettings | None = None
    trunks: TrunkSettings | None = None
    whole: bool | None = key(
        bool, "G-FBP of the whole clip beside the pooling of its trunks.", "zhou2021 §III-E, §IV-D"
    )
    segments: SegmentSettings | None = None
    ag_norm: bool | None = key(
        bool,
        "Divide the whole clip's pooling by its length; adaption factors then act through the biases alone.",
        "zhou2021 eq. 14-18",
    )
    decision_weight: float | None = key(
        float,
        "Weight of the sound's posteriors; the pictures have the rest.",
        "zhou2021 table VI",
        least=0,
        most=1,
    )
    attention_dropout: float | None = key(
        float,
        "Dropout of what attention weights are computed from.",
        "zhou2019 (its authors' code)",
        least=0,
        below=1,
        shown="--dropout in self and relation attention, 0 in transformer and conv",
    )
    classifier_dropout: float | None = key(
        float, "Dropout of the pooled values that bilinear heads classify.", "", least=0, below=1
    )

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> HeadSettings:
        """Of what :meth:`described` gave; what is not there is at its default.

        Raises:
            TypeError: there is something in it that this version does not know.
        """
        nested = {name: kind(**values[name]) for name, kind in NESTED.items() if name in values}
        return cls(**{**values, **nested})

    def described(self) -> dict[str, Any]:
        """As JSON values, without what is None."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    def attention(self, stream: str) -> str:
        """The attention over ``visual`` or ``audio``."""
        return str(getattr(self, f"{stream}_attention"))

    def encoder(self, stream: str) -> EncoderSettings | None:
        """What is trained before the attention over ``visual`` or ``audio``."""
        found: EncoderSettings | None = getattr(self, f"{stream}_encoder")
        return found

    def temperature(self, stream: str) -> float:
        """λ of the attention over ``visual`` or ``audio``."""
        return float(getattr(self, f"lambda_{stream}"))

    def with_keys(self, values: Mapping[str, Any]) -> HeadSettings:
        """These settings with other values of some :data:`KEYS`; ``lrn`` is an encoder's, and left out."""
        made = self
        for name, value in values.items():
            field_, *part = KEYS[name].of
            if field_ not in NESTED:
                made = replace(made, **{field_: value})
            elif name != "lrn":
                nested = getattr(made, field_) or NESTED[field_]()
                made = replace(made, **{field_: replace(nested, **{part[0]: value})})
        return made


NESTED: dict[str, Any] = {
    "visual_encoder": EncoderSettings,
    "audio_encoder": EncoderSettings,
    "trunks": TrunkSettings,
    "segments": SegmentSettings,
}


def _keys() -> dict[str, Key]:
    found = {}
    for each in fields(HeadSettings):
        kind = NESTED.get(each.name)
        for own, of in [(f, (each.name, f.name)) for f in fields(kind)] if kind else [(each, (each.name,))]:
            if "key" in own.metadata:
                name = own.metadata["key"].name or own.name
                found[name] = replace(own.metadata["key"], name=name, of=of)
    return found


KEYS = _keys()
"""The settings that ``--set`` and ``--grid`` take, by their names there."""


def read_keys(texts: Sequence[str]) -> dict[str, Any]:
    """Values of :data:`KEYS` from texts ``KEY=VALUE``; dashes in a key are as good as underscores.

    Raises:
        FusionError: a text is of another form, or says no key or value that there is.
    """
    found = {}
    for text in texts:
        name, equals, value = (part.strip() for part in text.partition("="))
        name = name.replace("-", "_")
        if not equals:
            raise FusionError(f"{text!r}: expected KEY=VALUE, as in trunks=3")
        if name not in KEYS:
            near = get_close_matches(name, KEYS, 1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(KEYS)}"
            raise FusionError(f"no head has a setting {name!r}; {hint} `avemo-fuse heads` explains them")
        found[name] = KEYS[name].read(value)
    return found


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
