"""Grids of settings: one plan for each combination of values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from itertools import product
from typing import Any

from ..errors import FusionError
from ..heads.registry import check_acting
from ..heads.settings import HeadSettings, TrunkSettings
from .training import Plan, TrainingSettings

TRUNKS = {"trunks": "count", "trunk_outputs": "outputs", "trunk_factors": "factors"}  # of the heads of trunks
HEAD = (
    "dropout",
    "attention_dropout",
    "classifier_dropout",
    "hidden",
    "outputs",
    "factors",
    "lambda_visual",
    "lambda_audio",
    *TRUNKS,
    "decision_weight",
)
TRAINING = tuple(field.name for field in fields(TrainingSettings))
COUNTS = ("hidden", "outputs", "factors", *TRUNKS, "epochs", "batch", "halve_after")  # no fractions


@dataclass(frozen=True)
class Grid:
    """Values of settings to combine.

    Attributes:
        axes: name of a field of :class:`HeadSettings` or :class:`TrainingSettings` → its values.

    Raises:
        FusionError: another name, or values that cannot be or are given twice.
    """

    axes: Mapping[str, Sequence[float]]

    def __post_init__(self) -> None:
        for name, values in self.axes.items():
            if name not in (*HEAD, *TRAINING):
                raise FusionError(f"a grid over {name!r}? There are {', '.join((*HEAD, *TRAINING))}, seed")
            least = 1 if name in COUNTS else 0
            for value in values:
                strange = value != int(value) if name in COUNTS else False
                if strange or value < least or (name.endswith("dropout") and value >= 1):
                    raise FusionError(f"{name} in the grid cannot be {value:g}")
            if len({*values}) != len(values):
                raise FusionError(
                    f"{name} in the grid has the same value twice: {', '.join(map(str, values))}"
                )

    @property
    def points(self) -> list[dict[str, float]]:
        """All combinations; the last axis varies first."""
        values = (
            [int(value) if name in COUNTS else float(value) for value in axis]
            for name, axis in self.axes.items()
        )
        return [dict(zip(self.axes, point, strict=True)) for point in product(*values)]

    @property
    def names(self) -> list[str]:
        """Each point in words: ``lambda_audio 0.5, dropout 0.3``."""
        return [", ".join(f"{name} {value:g}" for name, value in point.items()) for point in self.points]

    def check(self, head: HeadSettings) -> None:
        """See that every axis changes what ``head`` computes.

        Raises:
            FusionError: one does not, so that its points would all be the same members.
        """
        for name in self.axes:
            if name in HEAD:
                try:
                    check_acting(head, ["trunks" if name in TRUNKS else name])
                except FusionError as error:
                    raise FusionError(f"{name} in the grid does nothing: {error}") from error

    def plans(self, plan: Plan) -> list[Plan]:
        """``plan`` with the values of each point."""
        return [_at(plan, point) for point in self.points]


def _at(plan: Plan, point: Mapping[str, Any]) -> Plan:
    own = {name: value for name, value in point.items() if name in HEAD and name not in TRUNKS}
    trunks = {field: point[name] for name, field in TRUNKS.items() if name in point}
    if trunks:
        own["trunks"] = replace(plan.head.trunks or TrunkSettings(), **trunks)
    head: HeadSettings = replace(plan.head, **own)
    training = replace(plan.training, **{name: point[name] for name in TRAINING if name in point})
    return replace(plan, head=head, training=training)
