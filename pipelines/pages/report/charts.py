"""Tables of a report: the confusion matrix, and bars with intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ..html import Html, element, percent

if TYPE_CHECKING:
    import numpy as np

    from ....fusion.evaluation.intervals import Interval

DEEP = 0.72  # the share from which a cell's text changes colour, to be read on it


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


def bars(shares: Mapping[str, tuple[int, int, Interval]]) -> Html:
    """A bar for each name: how many of how many, and how far that may be off."""
    rows = [
        element(
            "tr",
            element("th", name, scope="row"),
            element("td", _bar(part / whole, interval), class_="track"),
            element("td", percent(part / whole), class_="number"),
            element("td", f"{part} of {whole}", class_="number faint"),
        )
        for name, (part, whole, interval) in shares.items()
    ]
    return element("table", element("tbody", *rows), class_="bars")


def _bar(share: float, interval: Interval) -> Html:
    bar = element("div", class_="bar", style=f"--part:{share:.1%}")
    ends = f"--low:{interval.low:.1%};--high:{interval.high:.1%}"
    told = f"95 % interval {percent(interval.low)} to {percent(interval.high)}"
    return element("div", bar, class_="interval", style=ends, title=told)


def _cell(count: int, total: int) -> Html:
    share = count / total if total else 0
    text = (f"{share:.0%}", element("small", count)) if count else ("·",)
    deep = "deep" if share > DEEP else None
    return element("td", *text, class_=deep, style=f"--part:{share:.2f}")
