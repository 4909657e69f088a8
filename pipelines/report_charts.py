"""Figures of a report, drawn as HTML and SVG: curves, a confusion matrix, bars."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .page import Html, element, percent, together

if TYPE_CHECKING:
    import numpy as np

WIDTH, HEIGHT = 460, 250
LEFT, RIGHT, TOP, BOTTOM = 48, 10, 10, 40
MOST_POINTS = 200  # of a line: finer steps cannot be seen
DEEP = 0.72  # the share from which a cell's text changes colour, to be read on it


@dataclass(frozen=True)
class Lines:
    """Curves of one kind: a line a member, all of the same length, and how they are styled."""

    style: str
    members: Sequence[Sequence[float]]

    @property
    def mean(self) -> list[float]:
        """The mean of the members, epoch by epoch."""
        return [sum(values) / len(values) for values in zip(*self.members, strict=True)]


def curves(kinds: Sequence[Lines], name: str, share: bool) -> Html:
    """An SVG of curves over epochs: a thin line a member, a thick one for their mean.

    Args:
        kinds: what to draw; one line or more each.
        name: of what is drawn, for those who cannot see it.
        share: values are shares, drawn from 0% to 100%; otherwise from 0 to the largest.
    """
    epochs = len(kinds[0].members[0])
    values = (value for kind in kinds for line in kind.members for value in line if math.isfinite(value))
    highest = max(values, default=1)
    ticks = [0, 0.25, 0.5, 0.75, 1] if share else _ticks(highest)
    drawn = [_axes(epochs, ticks, share)]
    for kind in kinds:
        if len(kind.members) > 1:
            drawn += [_line(line, ticks[-1], f"member {kind.style}") for line in kind.members]
        drawn.append(_line(kind.mean, ticks[-1], f"mean {kind.style}"))
    label = f"{name} over {epochs} epochs"
    return element("svg", *drawn, viewBox=f"0 0 {WIDTH} {HEIGHT}", role="img", aria_label=label)


def legend(entries: Mapping[str, str]) -> Html:
    """What each line stands for: text → style."""
    items = [element("span", _sample(style), text) for text, style in entries.items()]
    return element("div", *items, class_="legend")


def confusion(classes: Sequence[str], counts: np.ndarray) -> Html:
    """A matrix ``[C, C]``, true classes down and predicted ones across: share of the row, and count."""
    heads = [element("th", element("span", name), scope="col") for name in classes]
    corner = element("th", "true ↓ predicted →", class_="faint")
    rows = [
        element("tr", element("th", name, scope="row"), *(_cell(n, sum(row)) for n in row))
        for name, row in zip(classes, counts.tolist(), strict=True)
    ]
    body = element("thead", element("tr", corner, *heads)), element("tbody", *rows)
    return element("div", element("table", *body, class_="confusion"), class_="wide")


def bars(shares: Mapping[str, tuple[int, int]]) -> Html:
    """A bar for each name: how many of how many."""
    rows = [
        element(
            "tr",
            element("th", name, scope="row"),
            element("td", element("div", class_="bar", style=f"--part:{part / whole:.1%}"), class_="track"),
            element("td", percent(part / whole), class_="number"),
            element("td", f"{part} of {whole}", class_="number faint"),
        )
        for name, (part, whole) in shares.items()
    ]
    return element("table", element("tbody", *rows), class_="bars")


def _cell(count: int, total: int) -> Html:
    share = count / total if total else 0
    text = (f"{share:.0%}", element("small", count)) if count else ("·",)
    deep = "deep" if share > DEEP else None
    return element("td", *text, class_=deep, style=f"--part:{share:.2f}")


def _sample(style: str) -> Html:
    return element("svg", element("path", d="M0 6H28", class_=f"mean {style}"), viewBox="0 0 28 12")


def _ticks(highest: float) -> list[float]:
    """Round numbers from 0 to ``highest`` or just above it."""
    rough = max(highest, 1e-9) / 4
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough)
    return [step * i for i in range(max(1, math.ceil(highest / step - 1e-9)) + 1)]


def _axes(epochs: int, ticks: Sequence[float], share: bool) -> Html:
    parts = []
    for tick in ticks:
        y = _y(tick, ticks[-1])
        text = f"{tick:.0%}" if share else f"{tick:.3g}"
        parts += [
            element("line", class_="grid", x1=LEFT, x2=WIDTH - RIGHT, y1=y, y2=y),
            element("text", text, x=LEFT - 8, y=f"{float(y) + 4:.1f}", text_anchor="end"),
        ]
    for epoch in sorted({1, *(round(tick) for tick in _ticks(epochs) if 1 <= tick <= epochs)}):
        x = _x(epoch - 1, epochs)
        parts.append(element("text", epoch, x=x, y=HEIGHT - BOTTOM + 18, text_anchor="middle"))
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(element("text", "epoch", x=middle, y=HEIGHT - 4, text_anchor="middle"))
    return together(parts)


def _line(values: Sequence[float], top: float, style: str) -> Html:
    points = " ".join(f"{_x(i, len(values))},{_y(values[i], top)}" for i in _places(values))
    return element("path", d=f"M{points}", class_=style)


def _places(values: Sequence[float]) -> Iterator[int]:
    """Indices of evenly spread values that can be drawn, the last among them."""
    step = math.ceil(len(values) / MOST_POINTS)
    yield from (i for i in range((len(values) - 1) % step, len(values), step) if math.isfinite(values[i]))


def _x(place: int, count: int) -> str:
    return f"{LEFT + (WIDTH - LEFT - RIGHT) * (place / (count - 1) if count > 1 else 0.5):.1f}"


def _y(value: float, top: float) -> str:
    return f"{TOP + (HEIGHT - TOP - BOTTOM) * (1 - value / top):.1f}"
