"""Find settings that do nothing beside the others; ``cli.framework.refuse_idle`` refuses them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, TypeVar

from ...fusion.errors import FusionError
from ...fusion.heads.registry import acting, check_acting, head_class, settings_for
from ...fusion.heads.settings import KEYS
from ...fusion.training.grid import Grid
from ..recipes.presets import with_preset
from .settings import CrossValidationSettings, HeadTraining

Settings = TypeVar("Settings", bound=HeadTraining)

SETTINGS = {
    **{name: (key.of[0],) for name, key in KEYS.items() if name != "lrn"},
    **{name: (name,) for name in ("dropout", "visual_attention", "audio_attention")},
    **{name: (name,) for name in ("visual_encoder", "audio_encoder")},
    "attention": ("visual_attention", "audio_attention"),
}
"""Field of the settings, or key of the head → the fields of a head that it sets."""

READ = {"visual": "pictures", "audio": "sound"}


def idle(settings: HeadTraining) -> dict[str, str]:
    """Return the fields, and keys of the head, that do nothing beside the others → reason.

    Raises:
        FusionError: there is no such head or attention.
    """
    return {**_of_head(settings), **_of_choice(settings)}


def _of_head(settings: HeadTraining) -> dict[str, str]:
    fusion = settings.fusion
    head = head_class(fusion)
    attentions = {f"{stream}_attention": getattr(settings, f"{stream}_attention") for stream in READ}
    attentions = {name: value or settings.attention for name, value in attentions.items()}
    attended = {name: value for name, value in attentions.items() if value and head.attends}
    whole = {"whole": True} if settings.head.get("whole") and "whole" in head.options else {}
    plain = settings_for(fusion, **attended, **whole)
    able = acting(plain)
    found = {}
    for name, fields in SETTINGS.items():
        if not able & {*fields}:
            try:
                check_acting(plain, fields)
            except FusionError as error:
                found[name] = str(error).removesuffix("; leave it out")
    for stream, what in READ.items():
        if stream not in head.streams:
            found[stream] = f"the fusion {fusion} reads no {what}"
    if settings.visual_attention and settings.audio_attention:
        found["attention"] = "--visual-attention and --audio-attention name the attention of both streams"
    if not (settings.visual_encoder or settings.audio_encoder):
        found["lrn"] = "it is a setting of an encoder; name one with --audio-encoder or --visual-encoder"
    if not head.stackable:
        found["stacked"] = f"members of the fusion {fusion} cannot be stacked"
    return found


def _of_choice(settings: HeadTraining) -> dict[str, str]:
    """Return idle settings of the grid, and of the choice from it."""
    grid, _ = Grid.parse(settings.grid, 0, 1)
    found = dict.fromkeys(grid.axes, "--grid gives its values")
    if "seed" in (part.partition("=")[0].strip() for part in (settings.grid or "").split(",")):
        found |= dict.fromkeys(("seed", "members"), "--grid gives the seeds")
    if len(grid.points) < 2:
        found["choose_grid"] = "--grid gives fewer than two points to choose from"
    if isinstance(settings, CrossValidationSettings):
        weighted = "decision_weight" in head_class(settings.fusion).options
        weight = weighted and "decision_weight" not in settings.head
        if len(grid.points) < 2 and not settings.choose_epoch and not weight:
            why = "nothing is chosen; give --grid or --choose-epoch"
            found |= dict.fromkeys(("choose_by", "inner_folds"), why)
        if settings.folds != "session":
            found["session_pattern"] = "it is for --folds session"
    return found


def for_rows(
    settings: Settings,
    given: Collection[str],
    preset: str | None,
    rows: Sequence[Mapping[str, Any]],
    what: str,
) -> tuple[list[Settings], dict[str, str]]:
    """Return the settings of several heads: the shared ones, overridden by each row's own.

    A shared setting that does nothing in a row has its default there.

    Args:
        settings: settings shared by all rows.
        given: names of those fields that were given.
        preset: network of a paper, see :func:`.presets.with_preset`.
        rows: fields and keys of each row's own.
        what: noun for a row, used in messages.

    Returns:
        Settings of each row; and settings that do nothing in any row → reason.

    Raises:
        InputError: the preset has no such head.
        FusionError: there is no such head or attention.
    """
    defaults = type(settings)()
    reasons, joined = [], []
    for own in rows:
        made = with_preset(settings.changed(**own), preset, {*given, *own})
        why = idle(made)
        # if a row has its own feature, --visual FEATURE:BACKBONE still names the backbone
        replaced = [name for name in own if name != "out" and ":" not in str(getattr(settings, name, ""))]
        why |= dict.fromkeys(replaced, f"each {what} has its own")
        reasons.append(why)
        dropped = [name for name in why if name not in own]
        fields = {name: getattr(defaults, name) for name in dropped if name in {*given} & {*vars(defaults)}}
        head = {name: value for name, value in made.head.items() if name not in dropped}
        joined.append(made.changed(**fields, head=head))
    idle_in_all = set.intersection(*map(set, reasons)) if reasons else set()
    return joined, {name: reasons[0][name] for name in idle_in_all}
