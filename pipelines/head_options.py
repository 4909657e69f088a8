"""The options of ``avemo-fuse train`` and ``cv`` that say which head is trained, and what comes of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from torch import Tensor

    from ..fusion.features import Feature
    from ..fusion.heads import EncoderSettings, HeadSettings

HEAD_OPTIONS: tuple[Callable[..., Any], ...] = (
    click.option("--fusion", default="fbp", show_default=True, metavar="NAME",
                 help="fbp, g-fbp, ag-fbp, m-fbp, am-fbp, concat, decision; or one stream alone: audio, "
                 "faces."),
    click.option("--attention", metavar="NAME",
                 help="self, relation, transformer or conv, over both streams.  [default: transformer; over "
                 "the pictures of g-, ag-, m- and am-fbp conv]"),
    click.option("--visual-attention", metavar="NAME", help="Another one over the pictures."),
    click.option("--audio-attention", metavar="NAME", help="Another one over the sound."),
    click.option("--lambda-visual", type=click.FloatRange(min=0), metavar="L",
                 help="How far transformer and conv attention set frames apart; 0 is the mean.  "
                 "[default: 1]"),
    click.option("--lambda-audio", type=click.FloatRange(min=0), metavar="L",
                 help="The same over the sound.  [default: 0.3 for g-, ag-, m- and am-fbp, else 1]"),
    click.option("--audio-encoder", metavar="NAME[@WEIGHTS]",
                 help="1d-abfcn or 2d-abfcn, trained with the head on spectrogram or logmel; WEIGHTS: an "
                 "AlexNet's to start from.  [default: none]"),
    click.option("--lrn/--no-lrn", default=None,
                 help="Local response normalisation in the encoder.  [default: in 1d-abfcn]"),
    click.option("--dropout", type=click.FloatRange(0, 1, max_open=True), default=0.3, show_default=True,
                 metavar="SHARE"),
    click.option("--hidden", type=click.IntRange(min=1), default=128, show_default=True, metavar="M",
                 help="Reduced dimension of transformer attention."),
    click.option("--outputs", type=click.IntRange(min=1), default=128, show_default=True, metavar="O",
                 help="Values of bilinear pooling over the whole clip."),
    click.option("--factors", type=click.IntRange(min=1), default=4, show_default=True, metavar="K",
                 help="Products summed for each of them."),
    click.option("--bias/--no-bias", default=True, show_default=True,
                 help="Whether bilinear pooling's projections have biases."),
    click.option("--signed-sqrt", is_flag=True, help="Take the signed square root of pooled values."),
    click.option("--ag-norm/--no-ag-norm", default=None,
                 help="ag-fbp, am-fbp: divide the whole clip's pooling by its length; the adaption factors "
                 "then act through the biases alone.  [default: no]"),
    click.option("--trunks", type=click.IntRange(min=1), metavar="H",
                 help="m-fbp, am-fbp: parts that a clip is cut into.  [default: 6]"),
    click.option("--trunk-seconds", type=click.FloatRange(min=0, min_open=True), metavar="S",
                 help="Length of a part.  [default: the clip's own over H]"),
    click.option("--trunk-outputs", type=click.IntRange(min=1), metavar="O",
                 help="Values of bilinear pooling over the parts.  [default: 192]"),
    click.option("--trunk-factors", type=click.IntRange(min=1), metavar="K",
                 help="Products summed for each of them.  [default: 2]"),
    click.option("--decision-weight", type=click.FloatRange(0, 1), metavar="W",
                 help="decision: the weight of the sound's posteriors.  [default: 0.5]"),
)  # fmt: skip

TRUNK_OPTIONS = {
    "trunks": "count",
    "trunk_seconds": "seconds",
    "trunk_outputs": "outputs",
    "trunk_factors": "factors",
}
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
)


def head_settings(options: Mapping[str, Any]) -> HeadSettings:
    """The head that the options ask for; what they leave open is as in the head's paper.

    Raises:
        FusionError: there is no such head or attention, or it does not read something that is given.
    """
    from ..fusion.heads import TrunkSettings, settings_for

    trunks = {
        field: options[option] for option, field in TRUNK_OPTIONS.items() if options[option] is not None
    }
    given = {
        "visual_attention": options["visual_attention"] or options["attention"],
        "audio_attention": options["audio_attention"] or options["attention"],
        "trunks": TrunkSettings(**trunks) if trunks else None,
        **{name: options[name] for name in AS_THEY_ARE},
    }
    return settings_for(options["fusion"], **{name: v for name, v in given.items() if v is not None})


def audio_encoder(
    options: Mapping[str, Any], feature: Feature | None
) -> tuple[EncoderSettings | None, dict[str, Mapping[str, Tensor]]]:
    """The encoder that the options ask for; and, by its stream, the tensors of the file that they name.

    Args:
        options: of the command.
        feature: what the sound is read as; None where the head reads none.

    Raises:
        FusionError: that is nothing to be encoded.
        WeightsError: the file cannot be read.
    """
    from ..fusion.errors import FusionError
    from ..fusion.features import AUDIO, RECIPES
    from ..fusion.heads import EncoderSettings

    if not options["audio_encoder"]:
        if options["lrn"] is not None:
            raise click.UsageError("--lrn and --no-lrn are about an encoder; name one by --audio-encoder")
        return None, {}
    name, _, file = options["audio_encoder"].partition("@")
    if feature is None:
        raise FusionError(f"the fusion {options['fusion']} reads no sound, so there is nothing for {name}")
    channels = feature.recipe.channels
    if not channels:
        able = " or ".join(r.name for r in RECIPES.values() if r.channels and r.modality == AUDIO)
        raise FusionError(f"{name} reads pictures over time, and {feature.name} is none; use --audio {able}")
    lrn = name == "1d-abfcn" if options["lrn"] is None else options["lrn"]
    if not file:
        return EncoderSettings(name, channels, lrn), {}
    from ..extract.backbones.weights import load_state, weights_sha256

    return EncoderSettings(name, channels, lrn, weights_sha256(file)), {AUDIO: load_state(file)}


def path_of(head: HeadSettings, stream: str) -> str:
    """What a stream goes through before it is fused."""
    encoder, temperature, parts = head.encoder(stream), head.temperature(stream), []
    if encoder:
        begin = f"weights {encoder.weights[:8]}" if encoder.weights else "random weights"
        parts.append(f"{encoder.name}{'' if encoder.lrn else ' without LRN'} from {begin}")
    attention = f"attention {head.attention(stream)}"
    parts.append(attention if temperature == 1 else f"{attention} with λ {temperature:g}")
    return ", ".join(parts)
