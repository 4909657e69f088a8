"""Figures of a report for Plotly: each is data and layout as plain values; the style is report.js's and
report.css's."""

from __future__ import annotations

import html
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..html import Html, element
from ..palette import BLUE, GREY, VERMILLION, class_colours

if TYPE_CHECKING:
    import numpy as np

    from ....fusion.evaluation.calibration import Bin
    from ....fusion.evaluation.insight import Attention
    from ....fusion.training.training import Epoch

Figure = Mapping[str, Any]
"""``data`` and ``layout`` as Plotly has them, ``height`` in pixels."""

SYMBOLS = ("circle", "square", "diamond", "cross", "x", "triangle-up", "star", "pentagon", "triangle-down",
           "hexagram", "hourglass")  # fmt: skip
MOST_POINTS, MOST_MEMBERS, MOST_MOMENTS = 200, 20, 400  # of a curve: more cannot be seen
UNKNOWN = "no true class known"


def drawn(figure: Figure, label: str) -> Html:
    """The place of a figure, which ``report.js`` draws there; ``label`` tells those who cannot see it."""
    text = json.dumps(figure, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
    data = Html(f'<script type="application/json">{text}</script>')
    instead = element("noscript", "This figure needs JavaScript; the tables do without.")
    height = f"height:{figure['height']}px"
    return element("div", data, instead, class_="figure", role="figure", aria_label=label, style=height)


def learning(histories: Sequence[Sequence[Epoch]], ending: str) -> Figure:
    """Curves over epochs: a thin line a member, a thick one for their mean.

    Args:
        histories: each member's epochs.
        ending: ``loss`` or ``accuracy``.
    """
    share = ending == "accuracy"
    kinds = {"training, with dropout": ("train", VERMILLION, "dash")}
    if histories[0][0].val_loss is not None:
        kinds["validation"] = ("val", BLUE, "solid")
    data: list[dict[str, Any]] = []
    for name, (kind, colour, dash) in kinds.items():
        lines = [[_value(epoch, f"{kind}_{ending}") for epoch in history] for history in histories]
        for number, line in enumerate(lines[:MOST_MEMBERS] if len(lines) > 1 else ()):
            data.append(_curve(line, f"member {number}", colour, 1, dash, share))
            data[-1] |= {"opacity": 0.35, "legendgroup": name, "showlegend": False}
        mean = [sum(values) / len(values) for values in zip(*lines, strict=False)]
        data.append(_curve(mean, name, colour, 2.5, dash, share) | {"legendgroup": name})
    axis = {"rangemode": "tozero", **({"tickformat": ".0%"} if share else {})}
    return _figure(data, {"xaxis": {"title": {"text": "epoch"}}, "yaxis": axis}, 300)


def reliability(bins: Sequence[Bin]) -> Figure:
    """Accuracy of the clips whose highest score lies in each bin, beside what the scores claim."""
    hover = "scores of %{customdata[0]}: mean %{customdata[1]}<br>right %{y:.1%} of %{customdata[2]} clips"
    bars = {
        "type": "bar",
        "name": "came true",
        "x": [(part.low + part.high) / 2 for part in bins],
        "width": [0.92 * (part.high - part.low) for part in bins],
        "y": numbers(part.accuracy for part in bins),
        "marker": {"color": BLUE},
        "customdata": [
            [f"{part.low:.0%} to {part.high:.0%}", f"{part.confidence:.1%}", part.clips] for part in bins
        ],
        "hovertemplate": f"{hover}<extra></extra>",
    }
    claimed = {
        "type": "scatter",
        "mode": "markers",
        "name": "claimed (mean score)",
        "x": bars["x"],
        "y": numbers(part.confidence for part in bins),
        "marker": {"symbol": "line-ew-open", "size": 16, "color": VERMILLION, "line": {"width": 3}},
        "hovertemplate": "mean score %{y:.1%}<extra></extra>",
    }
    diagonal = _line([0, 1], [0, 1], "as many right as claimed", GREY, 1.5, "dot")
    share = {"range": [0, 1], "tickformat": ".0%"}
    layout = {
        "xaxis": {**share, "title": {"text": "highest score"}},
        "yaxis": {**share, "title": {"text": "accuracy"}},
        "barmode": "overlay",
    }
    return _figure([bars, diagonal, claimed], layout, 330)


def factors(values: Mapping[str, Sequence[tuple[str, float]]]) -> Figure:
    """Adaption factor of the sound: class → clip and factor of each; the class of the least comes first."""
    data = [
        {
            "type": "box",
            "name": text(name),
            "x": numbers(value for _, value in clips),
            "text": [text(clip) for clip, _ in clips],
            "boxpoints": "all",
            "boxmean": True,
            "jitter": 0.5,
            "pointpos": 0,
            "marker": {"color": BLUE, "size": 4, "opacity": 0.6},
            "line": {"color": BLUE, "width": 1.5},
            "fillcolor": "rgba(0,0,0,0)",
            "hoveron": "points",
            "hovertemplate": "%{text}: %{x:.3f}<extra></extra>",
        }
        for name, clips in values.items()
    ]
    layout = {
        "xaxis": {"title": {"text": "μ of the sound"}},
        "yaxis": {"automargin": True, "showgrid": False},
        "showlegend": False,
    }
    return _figure(data, layout, 110 + 42 * len(data))


def neighbours(
    points: np.ndarray,
    clips: Sequence[str],
    truth: Sequence[str | None],
    predicted: Sequence[str],
    classes: Sequence[str],
) -> Figure:
    """Clips in a plane ``[N, 2]``, coloured and shaped by true class; hollow where predicted wrong."""
    data = []
    colours = class_colours(classes)
    for place, name in enumerate([*classes, None]):
        own = [i for i, known in enumerate(truth) if known == name]
        if not own:
            continue
        symbol = SYMBOLS[place % len(SYMBOLS)] if name else "circle"
        colour = colours[place] if name else GREY
        wrong = [i for i in own if name is not None and predicted[i] != name]
        for hollow, some in ((False, [i for i in own if i not in {*wrong}]), (True, wrong)):
            data.append(
                {
                    "type": "scatter",
                    "mode": "markers",
                    "name": text(name or UNKNOWN),
                    "legendgroup": f"class {place}",
                    "showlegend": not hollow,
                    "x": numbers(points[some, 0]) or [None],  # None: a class without any keeps its legend
                    "y": numbers(points[some, 1]) or [None],
                    "marker": {"color": colour, "size": 8, "symbol": f"{symbol}-open" if hollow else symbol},
                    "text": [
                        f"{text(clips[i])}<br>{text(truth[i] or UNKNOWN)}, predicted {text(predicted[i])}"
                        for i in some
                    ],
                    "hovertemplate": "%{text}<extra></extra>",
                }
            )
    bare = {"showticklabels": False, "showgrid": False, "zeroline": False, "ticks": ""}
    return _figure(data, {"xaxis": bare, "yaxis": bare}, 400)


def looked_at(
    attention: Mapping[str, Attention], seconds: float, picture: str | None, top_hz: float | None
) -> Figure:
    """Attention over a clip's time, pictures above the spectrogram and sound below.

    Args:
        attention: ``visual``, ``audio`` or both, and no more, each of some vectors or of none.
        seconds: length of the clip.
        picture: address of the spectrogram's picture, from 0 to ``seconds``; None where there is none.
        top_hz: its highest frequency, where known.
    """
    rows = [
        name
        for name in ("visual", "picture", "audio")
        if name in attention or (name == "picture" and picture)
    ]
    shares = {"visual": 1.0, "picture": 0.8, "audio": 1.0}
    whole = sum(shares[name] for name in rows)
    data: list[dict[str, Any]] = []
    layout: dict[str, Any] = {"showlegend": False, "images": [], "annotations": []}
    top = 1.0
    for number, name in enumerate(rows, 1):
        gap = 0.05 if number < len(rows) else 0.0
        bottom = top - shares[name] / whole
        axis, key = f"y{number if number > 1 else ''}", f"yaxis{number if number > 1 else ''}"
        layout[key] = {"domain": [max(0.0, bottom + gap), top], "fixedrange": True}
        top = bottom
        if name == "picture":
            high = top_hz / 1000 if top_hz else 1
            layout[key] |= {
                "range": [0, high],
                "title": {"text": "kHz" if top_hz else "frequency"},
                "showgrid": False,
                "showticklabels": bool(top_hz),
                "nticks": 3,
            }
            layout["images"].append(
                {"source": picture, "xref": "x", "yref": axis, "x": 0, "y": high, "sizex": seconds,
                 "sizey": high, "sizing": "stretch", "layer": "below"}
            )  # fmt: skip
            data.append({"type": "scatter", "x": [0, seconds], "y": [None, None], "yaxis": axis})
            continue
        given = attention[name]
        what, colour = ("faces", BLUE) if name == "visual" else ("sound", VERMILLION)
        layout[key] |= {"title": {"text": what}, "rangemode": "tozero", "nticks": 4}
        data.append(_weights(given, what, colour, axis))
        data.append(_line([0, seconds], [1, 1], "all alike", GREY, 1, "dot") | {"yaxis": axis})
        data[-1]["hoverinfo"] = "skip"
        if not len(given.weights):
            layout["annotations"].append(
                {"text": f"nothing of the {what} is stored for this clip", "xref": "paper", "yref": axis,
                 "x": 0.5, "y": 0.5, "showarrow": False}
            )  # fmt: skip
    layout["xaxis"] = {
        "range": [0, seconds],
        "title": {"text": "seconds"},
        "anchor": f"y{len(rows) if len(rows) > 1 else ''}",
        "fixedrange": True,
        "showgrid": False,
        "zeroline": False,
    }
    return _figure(data, layout, 60 + round(95 * whole))


def numbers(values: Iterable[float]) -> list[float | None]:
    """Rounded to four digits; None for what is no number."""
    return [float(f"{value:.4g}") if math.isfinite(value) else None for value in map(float, values)]


def text(name: str) -> str:
    """A name that Plotly, which reads some HTML, shows as it is."""
    return html.escape(name, quote=False)


def _weights(given: Attention, what: str, colour: str, axis: str) -> dict[str, Any]:
    """Weights over time as multiples of an equal share; vectors of one moment are told together, and
    neighbours where there are very many moments."""
    import numpy as np

    times, places = np.unique(np.round(given.times, 4), return_inverse=True)
    moments = len(times)
    sums, counts = np.bincount(places, given.weights, moments), np.ones(moments)
    if moments > MOST_MOMENTS:
        groups = np.arange(moments) * MOST_MOMENTS // moments
        counts = np.bincount(groups).astype(np.float64)
        times, sums = np.bincount(groups, times) / counts, np.bincount(groups, sums)
    return {
        "type": "scatter",
        "mode": "lines+markers" if len(times) <= 150 else "lines",
        "name": what,
        "x": numbers(times),
        "y": numbers(sums * moments / counts),
        "customdata": numbers(sums),
        "line": {"color": colour, "width": 1.5},
        "marker": {"size": 4},
        "yaxis": axis,
        "hovertemplate": "%{x:.2f} s: %{customdata:.1%} of all, %{y:.2f} times an equal share<extra></extra>",
    }


def _value(epoch: Epoch, name: str) -> float:
    value = getattr(epoch, name)
    return math.nan if value is None else float(value)


def _curve(
    values: Sequence[float], name: str, colour: str, width: float, dash: str, share: bool
) -> dict[str, Any]:
    step = math.ceil(len(values) / MOST_POINTS)
    places = range((len(values) - 1) % step, len(values), step)
    line = _line([i + 1 for i in places], [values[i] for i in places], name, colour, width, dash)
    value = "%{y:.1%}" if share else "%{y:.3f}"
    return line | {"hovertemplate": f"{name}, epoch %{{x}}: {value}<extra></extra>"}


def _line(
    x: Sequence[float], y: Sequence[float], name: str, colour: str, width: float, dash: str
) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "lines" if len(x) > 1 else "markers",
        "name": name,
        "x": numbers(x),
        "y": numbers(y),
        "line": {"color": colour, "width": width, "dash": dash},
        "marker": {"color": colour},
    }


def _figure(data: Sequence[Mapping[str, Any]], layout: Mapping[str, Any], height: int) -> Figure:
    return {"data": data, "layout": layout, "height": height}
