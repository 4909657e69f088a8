"""Grids of settings: one setup for each combination of values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from decimal import Decimal, InvalidOperation
from itertools import product
from typing import Any

from ..errors import FusionError
from ..heads.registry import check_acting
from ..heads.settings import KEYS, HeadSettings, Key
from .settings import TrainingSettings
from .training import Setup

HEAD = ("dropout", *(name for name, key in KEYS.items() if key.kind in (int, float)))
TRAINING = tuple(field.name for field in fields(TrainingSettings))
COUNTS = ("epochs", "batch", "halve_after")  # whole numbers from 1
SHARE = Key(float, "", least=0, below=1)
SHORT = {"lr": "learning_rate"}
FORM = 'expected NAME=A|B|C or NAME=FROM:TO:STEP, as in "lambda_audio=0:1:0.1, lr=1e-4|1e-3, seed=0:4"'
MOST = 10_000  # values


@dataclass(frozen=True)
class Grid:
    """Values of settings to combine.

    Attributes:
        axes: field of :class:`HeadSettings` or :class:`TrainingSettings` → its values.

    Raises:
        FusionError: a name is unknown, or a value is invalid or duplicated.
    """

    axes: Mapping[str, Sequence[float]]

    def __post_init__(self) -> None:
        for name, values in self.axes.items():
            if name not in (*HEAD, *TRAINING):
                raise FusionError(
                    f"a grid over {name!r} is not possible; expected {', '.join((*HEAD, *TRAINING))} or seed"
                )
            for value in values:
                if not _key(name).fits(value):
                    raise FusionError(
                        f"{name} in the grid cannot be {value:g}; expected {_key(name).expected}"
                    )
            if len({*values}) != len(values):
                raise FusionError(
                    f"{name} in the grid has the same value twice: {', '.join(map(str, values))}"
                )

    @classmethod
    def parse(cls, text: str | None, seed: int, members: int) -> tuple[Grid, tuple[int, int]]:
        """Parse the text of ``--grid``.

        Args:
            text: axes such as ``lr=1e-4|1e-3, seed=0:4``; None or empty for no grid.
            seed, members: first seed and number of members if the text has no ``seed``.

        Returns:
            The grid, and the first seed and number of members.

        Raises:
            FusionError: the text is malformed, or names unknown settings or invalid values.
        """
        axes: dict[str, list[float]] = {}
        for part in filter(None, (part.strip() for part in (text or "").split(","))):
            name, equals, values = (piece.strip() for piece in part.partition("="))
            name = name.replace("-", "_")
            name = SHORT.get(name, name)
            if not equals or not name or name in axes:
                raise FusionError(f"--grid: {part!r} {'appears twice' if name in axes else FORM}")
            axes[name] = [float(value) for value in _values(values, part)]
        if "seed" in axes:
            seeds = [int(value) for value in axes.pop("seed")]
            if seeds != list(range(seeds[0], seeds[0] + len(seeds))) or seeds[0] < 0:
                raise FusionError(f"--grid: seeds {seeds} do not follow each other; write seed=FROM:TO")
            seed, members = seeds[0], len(seeds)
        return cls(axes), (seed, members)

    @property
    def points(self) -> list[dict[str, float]]:
        """All combinations; the last axis varies fastest."""
        values = ([_key(name).kind(value) for value in axis] for name, axis in self.axes.items())
        return [dict(zip(self.axes, point, strict=True)) for point in product(*values)]

    @property
    def names(self) -> list[str]:
        """Text of each point, such as ``lambda_audio 0.5, dropout 0.3``."""
        return [", ".join(f"{name} {value:g}" for name, value in point.items()) for point in self.points]

    def check(self, head: HeadSettings) -> None:
        """Check that every axis affects the output of ``head``.

        Raises:
            FusionError: an axis has no effect, so its points would give identical members.
        """
        for name in self.axes:
            if name in HEAD:
                try:
                    check_acting(head, [KEYS[name].of[0] if name in KEYS else name])
                except FusionError as error:
                    raise FusionError(f"{name} in the grid has no effect: {error}") from error

    def setups(self, setup: Setup) -> list[Setup]:
        """Return ``setup`` with the values of each point."""
        return [_at(setup, point) for point in self.points]


def _key(name: str) -> Key:
    if name in KEYS:
        return KEYS[name]
    if name == "dropout":
        return SHARE
    return Key(int if name in COUNTS else float, "", least=1 if name in COUNTS else 0)


def _at(setup: Setup, point: Mapping[str, Any]) -> Setup:
    head = setup.head.with_keys({name: value for name, value in point.items() if name in KEYS})
    if "dropout" in point:
        head = replace(head, dropout=point["dropout"])
    training = replace(setup.training, **{name: point[name] for name in TRAINING if name in point})
    return replace(setup, head=head, training=training)


def _values(text: str, part: str) -> list[Decimal]:
    """Parse numbers separated by ``|``, or FROM:TO:STEP with both ends included; exact decimals."""
    try:
        numbers = [[Decimal(number.strip()) for number in piece.split(":")] for piece in text.split("|")]
    except InvalidOperation:
        raise FusionError(f"--grid: {part!r} {FORM}") from None
    if all(len(piece) == 1 for piece in numbers) and all(piece[0].is_finite() for piece in numbers):
        return [piece[0] for piece in numbers]
    if len(numbers) > 1 or len(numbers[0]) > 3 or not all(number.is_finite() for number in numbers[0]):
        raise FusionError(f"--grid: {part!r} {FORM}")
    first, last, *steps = numbers[0]
    step = steps[0] if steps else Decimal(1)
    if step <= 0 or last < first:
        raise FusionError(f"--grid: {part!r}: the step must be above 0, and TO not below FROM")
    count = int((last - first) / step) + 1
    if count > MOST:
        raise FusionError(f"--grid: {part!r} has {count} values; expected {MOST} or fewer")
    return [first + step * number for number in range(count)]
