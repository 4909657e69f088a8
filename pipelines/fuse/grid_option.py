"""``--grid "lambda_a=0:1:0.1, seed=0:4"``: what it says."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING

import click

from ..cli.framework import group

if TYPE_CHECKING:
    from ...fusion.training.grid import Grid

SHORT = {"lambda_a": "lambda_audio", "lambda_v": "lambda_visual", "lr": "learning_rate"}
FORM = 'expected NAME=A|B|C or NAME=FROM:TO:STEP, as in "lambda_a=0:1:0.1, lr=1e-4|1e-3, seed=0:4"'
MOST = 10_000


def grid_of(text: str | None, seed: int, members: int) -> tuple[Grid, tuple[int, int]]:
    """The grid that an option asks for; and the first seed and how many, of the grid or else as given.

    Raises:
        UsageError: it does not say what it should.
        FusionError: it names settings or values that there are not.
    """
    from ...fusion.training.grid import Grid

    axes: dict[str, list[float]] = {}
    for part in filter(None, (part.strip() for part in (text or "").split(","))):
        name, equals, values = (piece.strip() for piece in part.partition("="))
        name = name.replace("-", "_")
        name = SHORT.get(name, name)
        if not equals or not name or name in axes:
            raise click.UsageError(f"--grid: {part!r} {'is there twice' if name in axes else FORM}")
        axes[name] = [float(value) for value in _values(values, part)]
    if "seed" in axes:
        seeds = [int(value) for value in axes.pop("seed")]
        if seeds != list(range(seeds[0], seeds[0] + len(seeds))) or seeds[0] < 0:
            raise click.UsageError(f"--grid: seeds {seeds} do not follow each other; write seed=FROM:TO")
        seed, members = seeds[0], len(seeds)
    return Grid(axes), (seed, members)


def _values(text: str, part: str) -> list[Decimal]:
    """Numbers apart by ``|``, or from one to another by steps, both included; exact, as they are written."""
    try:
        numbers = [[Decimal(number.strip()) for number in piece.split(":")] for piece in text.split("|")]
    except InvalidOperation:
        raise click.UsageError(f"--grid: {part!r} {FORM}") from None
    if all(len(piece) == 1 for piece in numbers) and all(piece[0].is_finite() for piece in numbers):
        return [piece[0] for piece in numbers]
    if len(numbers) > 1 or len(numbers[0]) > 3 or not all(number.is_finite() for number in numbers[0]):
        raise click.UsageError(f"--grid: {part!r} {FORM}")
    first, last, *steps = numbers[0]
    step = steps[0] if steps else Decimal(1)
    if step <= 0 or last < first:
        raise click.UsageError(f"--grid: {part!r}: the step must be above 0, and TO not below FROM")
    count = int((last - first) / step) + 1
    if count > MOST:
        raise click.UsageError(f"--grid: {part!r} are {count} values; {MOST} at most")
    return [first + step * number for number in range(count)]


GRID_OPTIONS = group(
    "Selection",
    click.option(
        "--grid",
        metavar="TEXT",
        help='Train with all combinations of values, such as "lambda_a=0:1:0.1, lr=1e-4|1e-3, '
        'seed=0:4". Names: lambda_a, lambda_v, lr, weight_decay, halve_after, dropout, '
        "attention_dropout, classifier_dropout, hidden, outputs, factors, trunks, trunk_outputs, "
        "trunk_factors, decision_weight, epochs, batch; seed stands for --members.",
    ),
)
STACKED_OPTION = click.option(
    "--stacked/--no-stacked", default=None,
    help="Train members whose tensors have the same shapes as one model.  [default: on a GPU]",
)  # fmt: skip
