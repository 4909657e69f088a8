"""Which options of ``avemo-fuse`` do nothing beside the others, and why; ``cli.refuse_idle`` is the rule."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click

from ..cli.framework import is_given, refuse_idle
from ..recipes.presets import with_preset
from .grid_option import grid_of
from .head_options import AS_THEY_ARE, SEGMENT_OPTIONS, TRUNK_OPTIONS

SETTINGS = {
    **{name: (name,) for name in AS_THEY_ARE},
    **dict.fromkeys(TRUNK_OPTIONS, ("trunks",)),
    **dict.fromkeys(SEGMENT_OPTIONS, ("segments",)),
    "attention": ("visual_attention", "audio_attention"),
    "visual_attention": ("visual_attention",),
    "audio_attention": ("audio_attention",),
    "visual_encoder": ("visual_encoder",),
    "audio_encoder": ("audio_encoder",),
}
"""Option → the settings of a head that it is about; see :func:`.heads.acting`."""

READ = {"visual": "pictures", "audio": "sound"}


def idle(options: Mapping[str, Any]) -> dict[str, str]:
    """The options of ``train`` or ``cv`` that do nothing beside the others → why.

    Raises:
        FusionError: there is no such head or attention.
    """
    return {**_of_head(options), **_of_choice(options)}


def _of_head(options: Mapping[str, Any]) -> dict[str, str]:
    from ...fusion.errors import FusionError
    from ...fusion.heads.registry import acting, check_acting, head_class, settings_for

    fusion = options["fusion"]
    head = head_class(fusion)
    attentions = {f"{stream}_attention": options[f"{stream}_attention"] for stream in READ}
    attentions = {name: value or options["attention"] for name, value in attentions.items()}
    attended = {name: value for name, value in attentions.items() if value and head.attends}
    settings = settings_for(fusion, **attended)
    able = acting(settings)
    found = {}
    for option, names in SETTINGS.items():
        if not able & {*names}:
            try:
                check_acting(settings, names)
            except FusionError as error:
                found[option] = str(error).removesuffix("; leave it out")
    for stream, what in READ.items():
        if stream not in head.streams:
            found[stream] = f"the fusion {fusion} reads no {what}"
    both = options["visual_attention"] and options["audio_attention"]
    if both:
        found["attention"] = "--visual-attention and --audio-attention name the attention of both streams"
    if not (options["visual_encoder"] or options["audio_encoder"]):
        found["lrn"] = "it is about an encoder; name one by --audio-encoder or --visual-encoder"
    if not head.stackable:
        found["stacked"] = f"members of the fusion {fusion} cannot be stacked"
    return found


def _of_choice(options: Mapping[str, Any]) -> dict[str, str]:
    """Options about a grid and what is chosen of it."""
    from ...fusion.heads.registry import head_class

    grid, _ = grid_of(options["grid"], 0, 1)
    found = dict.fromkeys(grid.axes, "--grid gives its values")
    if "seed" in (part.partition("=")[0].strip() for part in (options["grid"] or "").split(",")):
        found |= dict.fromkeys(("seed", "members"), "--grid gives the seeds")
    single = "--grid gives no two points to choose from"
    if len(grid.points) < 2:
        found |= dict.fromkeys(("choose", "halving"), single)
    if "folds" in options:
        weighted = "decision_weight" in head_class(options["fusion"]).options
        weight = weighted and options["decision_weight"] is None
        if len(grid.points) < 2 and options["select"] == "none" and not weight:
            why = "nothing is chosen; give --grid or --select epoch"
            found |= dict.fromkeys(("select_by", "inner_folds"), why)
        if options["folds"] != "session":
            found["session_pattern"] = "it is for --folds session"
    return found


def for_rows(
    options: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], what: str
) -> list[dict[str, Any]]:
    """The options of each row of a command that trains several heads: shared ones, then the row's own.

    A shared option that does nothing in a row is at its default there; one that does nothing in any is
    refused.

    Args:
        options: those that all rows share.
        rows: each row's own.
        what: what a row is, for the text of an error.

    Raises:
        click.UsageError: an option that is given does nothing in any row.
        FusionError: there is no such head or attention.
    """
    defaults = click.get_current_context().command.make_context("defaults", []).params
    reasons = []
    joined = []
    for own in rows:
        given = with_preset(options, own)
        why = idle(given)
        # what --visual FEATURE:BACKBONE says of a feature of a row's own is its backbone
        replaced = [name for name in own if ":" not in str(options.get(name, ""))]
        why |= dict.fromkeys(replaced, f"each {what} has its own")
        reasons.append(why)
        dropped = [name for name in why if name in options and name not in own and is_given(name)]
        joined.append({**given, **{name: defaults[name] for name in dropped}})
    refuse_idle({name: reasons[0][name] for name in set.intersection(*map(set, reasons))})
    return joined
