"""The options of ``avemo-fuse train`` and ``cv`` that say which head is trained, and what comes of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from ..cli.completion import ATTENTIONS, ENCODERS, FUSIONS, names
from ..cli.framework import altered, group
from ..cli.options import dense_option, dropout_option, hidden_option, lstm_option, vote_option
from ..recipes.presets import PRESET_OPTION

if TYPE_CHECKING:
    from torch import Tensor

    from ...fusion.features.recipes import Feature
    from ...fusion.heads.registry import EncoderSettings, HeadSettings

HEAD_OPTIONS = group(
    "Head",
    click.option("--fusion", default="fbp", show_default=True, metavar="NAME", shell_complete=names(FUSIONS),
                 help="fbp, g-fbp, ag-fbp, m-fbp, am-fbp, concat, decision; segments (an LSTM over the "
                 "frames of each segment of the sound); or one stream alone: audio, faces."),
    click.option("--attention", metavar="NAME", shell_complete=names(ATTENTIONS),
                 help="Attention over both streams: self, relation, transformer or conv.  [default: "
                 "transformer; conv over faces in g-, ag-, m- and am-fbp]"),
    PRESET_OPTION,
    click.option("--visual-attention", metavar="NAME", shell_complete=names(ATTENTIONS),
                 help="Attention over faces, if it differs."),
    click.option("--audio-attention", metavar="NAME", shell_complete=names(ATTENTIONS),
                 help="Attention over sound, if it differs."),
    dropout_option,
    click.option("--audio-encoder", metavar="NAME[@WEIGHTS]", shell_complete=names(ENCODERS),
                 help="1d-abfcn or 2d-abfcn, trained with the head on spectrogram or logmel; WEIGHTS: an "
                 "AlexNet's to start from.  [default: none]"),
    click.option("--visual-encoder", metavar="NAME[@WEIGHTS]", shell_complete=names(ENCODERS),
                 help="The same for faces, trained with the head on markers.  [default: none]"),
    altered(hidden_option, help="Reduced dimension in transformer attention and in that of segments."),
    click.option("--outputs", type=click.IntRange(min=1), default=128, show_default=True, metavar="O",
                 help="Output size of bilinear pooling over the whole clip."),
    click.option("--factors", type=click.IntRange(min=1), default=4, show_default=True, metavar="K",
                 help="Factors (products summed) per output."),
    click.option("--lambda-visual", type=click.FloatRange(min=0), metavar="L",
                 help="Sharpness of transformer and conv attention over faces; 0 is the plain mean.  "
                 "[default: 1]"),
    click.option("--lambda-audio", type=click.FloatRange(min=0), metavar="L",
                 help="The same over sound.  [default: 0.3 in g-, ag-, m- and am-fbp, else 1]"),
    click.option("--trunks", type=click.IntRange(min=1), metavar="H",
                 help="m-fbp, am-fbp: number of parts a clip is cut into.  [default: 6]"),
    click.option("--trunk-seconds", type=click.FloatRange(min=0, min_open=True), metavar="S",
                 help="m-fbp, am-fbp: length of a part.  [default: the clip's length over H]"),
    click.option("--trunk-outputs", type=click.IntRange(min=1), metavar="O",
                 help="m-fbp, am-fbp: output size of bilinear pooling over the parts.  [default: 192]"),
    click.option("--trunk-factors", type=click.IntRange(min=1), metavar="K",
                 help="m-fbp, am-fbp: factors per output over the parts.  [default: 2]"),
    click.option("--whole/--no-whole", default=None,
                 help="m-fbp: join the pooling of the whole clip (g-fbp) to that of its parts.  "
                 "[default: no]"),
    click.option("--ag-norm/--no-ag-norm", default=None,
                 help="ag-fbp, am-fbp: divide the whole clip's pooled vector by its length; the adaptive "
                 "factors then act through the biases alone.  [default: no]"),
    click.option("--decision-weight", type=click.FloatRange(0, 1), metavar="W",
                 help="decision: weight of the sound's posteriors.  [default: 0.5]"),
    lstm_option,
    dense_option,
    vote_option,
    click.option("--attention-dropout", type=click.FloatRange(0, 1, max_open=True), metavar="SHARE",
                 help="Dropout rate of the input of attention weights.  [default: --dropout in self and "
                 "relation attention, 0 in transformer and conv]"),
    click.option("--classifier-dropout", type=click.FloatRange(0, 1, max_open=True), metavar="SHARE",
                 help="Bilinear heads: dropout rate of the pooled values.  [default: 0]"),
    click.option("--lrn/--no-lrn", default=None,
                 help="Use local response normalisation in the encoder.  [default: in 1d-abfcn]"),
    click.option("--bias/--no-bias", default=True, show_default=True,
                 help="Whether the projections of bilinear pooling have biases."),
    click.option("--signed-sqrt", is_flag=True, help="Take the signed square root of pooled values."),
)  # fmt: skip

TRUNK_OPTIONS = {
    "trunks": "count",
    "trunk_seconds": "seconds",
    "trunk_outputs": "outputs",
    "trunk_factors": "factors",
}
SEGMENT_OPTIONS = ("lstm", "dense", "vote")
ENCODED = {"audio": "spectrogram", "visual": "markers"}
"""The feature of each stream that an encoder reads where none is named."""

AS_THEY_ARE = (
    "dropout",
    "hidden",
    "outputs",
    "factors",
    "bias",
    "lambda_visual",
    "lambda_audio",
    "signed_sqrt",
    "ag_norm",
    "decision_weight",
    "attention_dropout",
    "classifier_dropout",
    "whole",
)


def head_settings(options: Mapping[str, Any]) -> HeadSettings:
    """The head that the options ask for; what they leave open is as in the head's paper.

    Raises:
        FusionError: there is no such head or attention, or it does not read something that is given.
    """
    from ...fusion.heads.registry import SegmentSettings, TrunkSettings, settings_for

    trunks = {
        field: options[option] for option, field in TRUNK_OPTIONS.items() if options[option] is not None
    }
    segments = {name: options[name] for name in SEGMENT_OPTIONS if options[name] is not None}
    given = {
        "visual_attention": options["visual_attention"] or options["attention"],
        "audio_attention": options["audio_attention"] or options["attention"],
        "trunks": TrunkSettings(**trunks) if trunks else None,
        "segments": SegmentSettings(**segments) if segments else None,
        **{name: options[name] for name in AS_THEY_ARE},
    }
    return settings_for(options["fusion"], **{name: v for name, v in given.items() if v is not None})


def encoders(
    options: Mapping[str, Any], features: Mapping[str, Feature]
) -> tuple[dict[str, EncoderSettings], dict[str, Mapping[str, Tensor]]]:
    """The encoders that the options ask for, by their streams; and the tensors of the files that they name.

    Args:
        options: of the command.
        features: what each stream that the head reads is read as.

    Raises:
        FusionError: that is nothing to be encoded.
        WeightsError: a file cannot be read.
    """
    asked = {stream: options[f"{stream}_encoder"] for stream in ENCODED if options[f"{stream}_encoder"]}
    settings, weights = {}, {}
    for stream, text in asked.items():
        name, _, file = text.partition("@")
        channels = _channels(name, stream, features.get(stream), options["fusion"])
        settings[stream], tensors = _encoder(name, channels, options["lrn"], file)
        if file:
            weights[stream] = tensors
    return settings, weights


def _channels(name: str, stream: str, feature: Feature | None, fusion: str) -> int:
    """Channels of the feature that an encoder is to read."""
    from ...fusion.errors import FusionError
    from ...fusion.features.recipes import RECIPES

    if feature is None:
        what = {"audio": "sound", "visual": "pictures"}[stream]
        raise FusionError(f"the fusion {fusion} reads no {what}, so there is nothing for {name}")
    if not feature.recipe.channels:
        able = " or ".join(r.name for r in RECIPES.values() if r.channels and r.modality == stream)
        raise FusionError(
            f"{name} reads pictures over time, and {feature.name} is none; use --{stream} {able}"
        )
    return feature.recipe.channels


def _encoder(
    name: str, channels: int, lrn: bool | None, file: str
) -> tuple[EncoderSettings, Mapping[str, Tensor]]:
    from ...fusion.heads.registry import EncoderSettings

    lrn = name == "1d-abfcn" if lrn is None else lrn
    if not file:
        return EncoderSettings(name, channels, lrn), {}
    from ...extract.backbones.weights import load_state
    from ...extract.digest import sha256_of

    return EncoderSettings(name, channels, lrn, sha256_of(file)), load_state(file)


def path_of(head: HeadSettings, stream: str) -> str:
    """What a stream goes through before it is fused."""
    from ...fusion.heads.registry import complete

    segments = complete(head).segments
    if segments is not None:
        return {"visual": f"LSTM of {segments.lstm} over each segment", "audio": "a vector a segment"}[stream]
    encoder, temperature, parts = head.encoder(stream), head.temperature(stream), []
    if encoder:
        begin = f"weights {encoder.weights[:8]}" if encoder.weights else "random weights"
        parts.append(f"{encoder.name}{'' if encoder.lrn else ' without LRN'} from {begin}")
    attention = f"attention {head.attention(stream)}"
    parts.append(attention if temperature == 1 else f"{attention} with λ {temperature:g}")
    return ", ".join(parts)
