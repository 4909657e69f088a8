"""Settings of heads: plain values, stored in a run's card. Importing this module does not load torch.

Fields for ``--set KEY=VALUE`` and ``--grid`` are declared by :func:`key` with their description.
``avemo-fuse heads`` and shell completion read these declarations.
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
    """A setting of heads that can be set on the command line.

    Attributes:
        kind: int, float, bool or str.
        text: description in one sentence.
        source: paper and equation or section.
        default: default unless the head has its own; text if it depends on other settings.
        least: minimum; excluded if ``above`` is true.
        above: whether values must be above ``least``.
        most: maximum, included.
        below: upper limit, excluded.
        choices: all allowed values.
        name: name on the command line.
        of: field of :class:`HeadSettings`, and the nested field if it has several.
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
        """Description of valid values."""
        if self.choices:
            return " or ".join(self.choices)
        if self.kind is bool:
            return "true or false"
        least = "" if self.least is None else f" {'above' if self.above else 'from'} {self.least:g}"
        most = "" if self.most is None else f" to {self.most:g}"
        below = "" if self.below is None else f" to below {self.below:g}"
        return f"a {'whole ' if self.kind is int else ''}number{least}{most}{below}"

    def fits(self, value: float) -> bool:
        """Return whether a number is a valid value."""
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
        """Parse a value.

        Raises:
            FusionError: ``text`` is not a valid value.
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
    """Declare a dataclass field as a :class:`Key`; ``name`` overrides the field's name."""
    shown = limits.pop("shown", default)
    return field(default=default, metadata={"key": Key(kind, text, source, shown, name=name, **limits)})


@dataclass(frozen=True)
class EncoderSettings:
    """Settings of the encoder before a stream's attention.

    Attributes:
        name: key in :data:`.encoders.ENCODERS`.
        channels: channels of a frame, ``D = channels × bins``: 1 for a spectrogram, 3 for log-Mel with its
            deltas or for x, y, z of facial markers.
        weights: SHA-256 of the file with the initial weights; empty for random weights.
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
    """How clips are cut into trunks and pooled (zhou2021 §III-E; defaults from §IV for AFEW)."""

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
    """All settings of a head, except its inputs and classes.

    ``trunks``, ``whole``, ``segments``, ``ag_norm``, ``classifier_dropout`` and ``decision_weight`` are read
    by some heads only. None stands for the head's own default; heads that do not read a setting accept only
    None.

    Attributes:
        fusion: name in :data:`.base.HEADS`.
        visual_attention, audio_attention: names in :data:`.attention.ATTENTIONS`.
        dropout: dropout rate in training. As in the papers, it applies to the products in bilinear pooling
            (zhou2019, fig. 2), to the classifier inputs of other heads, and to the frames from which self and
            relation attention compute their weights (code of zhou2019's authors).
        visual_encoder, audio_encoder: trained encoder before a stream's attention, if any.
        trunks: settings of trunk heads.
        segments: settings of the segment head.
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
    signed_sqrt: bool = key(bool, "Take the signed square root of pooled values.", "", False)
    visual_encoder: EncoderSettings | None = None
    audio_encoder: EncoderSettings | None = None
    trunks: TrunkSettings | None = None
    whole: bool | None = key(
        bool, "Pool the whole clip (G-FBP) in addition to its trunks.", "zhou2021 §III-E, §IV-D"
    )
    segments: SegmentSettings | None = None
    ag_norm: bool | None = key(
        bool,
        "Normalise the whole clip's pooling to length 1; adaption factors then act only through biases.",
        "zhou2021 eq. 14-18",
    )
    decision_weight: float | None = key(
        float,
        "Weight of the sound's posteriors; the pictures get the rest.",
        "zhou2021 table VI",
        least=0,
        most=1,
    )
    attention_dropout: float | None = key(
        float,
        "Dropout on the inputs of attention weights.",
        "zhou2019 (its authors' code)",
        least=0,
        below=1,
        shown="--dropout in self and relation attention, 0 in transformer and conv",
    )
    classifier_dropout: float | None = key(
        float, "Dropout on the pooled values that bilinear heads classify.", "", least=0, below=1
    )

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> HeadSettings:
        """Restore settings from :meth:`described`; missing values get their defaults.

        Raises:
            TypeError: a setting is unknown to this version of avemo.
        """
        nested = {name: kind(**values[name]) for name, kind in NESTED.items() if name in values}
        return cls(**{**values, **nested})

    def described(self) -> dict[str, Any]:
        """Return the settings as JSON values, without None."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    def attention(self, stream: str) -> str:
        """Return the name of the attention over ``visual`` or ``audio``."""
        return str(getattr(self, f"{stream}_attention"))

    def encoder(self, stream: str) -> EncoderSettings | None:
        """Return the encoder before the attention over ``visual`` or ``audio``, if any."""
        found: EncoderSettings | None = getattr(self, f"{stream}_encoder")
        return found

    def temperature(self, stream: str) -> float:
        """Return λ of the attention over ``visual`` or ``audio``."""
        return float(getattr(self, f"lambda_{stream}"))

    def with_keys(self, values: Mapping[str, Any]) -> HeadSettings:
        """Return a copy with new values of some :data:`KEYS`; ``lrn`` belongs to encoders and is ignored."""
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
"""The settings for ``--set`` and ``--grid``, by name on the command line."""


def read_keys(texts: Sequence[str]) -> dict[str, Any]:
    """Parse ``KEY=VALUE`` texts into values of :data:`KEYS`; keys may use dashes for underscores.

    Raises:
        FusionError: a text has no ``=``, or its key or value is invalid.
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
OPTIONAL = frozenset(  # read by some heads only
    {"trunks", "whole", "segments", "ag_norm", "classifier_dropout", "decision_weight"}
)
ATTENDING = frozenset(  # read only by heads with attention
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
