"""Plotly figures of a report as plain values, styled by report.js and report.css."""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..palette import BLUE, GREY, VERMILLION, class_colours

if TYPE_CHECKING:
    import numpy as np

    from ....fusion.evaluation.calibration import Bin
    from ....fusion.evaluation.insight import AttentionOverTime
    from ....fusion.evaluation.scores import Scores
    from ....fusion.training.training import Epoch

Figure = Mapping[str, Any]
"""Plotly's ``data`` and ``layout``, and the ``height`` in pixels."""

SYMBOLS = ("circle", "square", "diamond", "cross", "x", "triangle-up", "star", "pentagon", "triangle-down",
           "hexagram", "hourglass")  # fmt: skip
MOST_POINTS, MOST_MEMBERS, MOST_MOMENTS = 200, 20, 400  # limits of a curve: more are not visible
UNKNOWN = "no true class known"


def learning(histories: Sequence[Sequence[Epoch]], ending: str) -> Figure:
    """Learning curves: a thin line for each member, a thick one for their mean.

    Args:
        histories: epochs of each member.
        ending: ``loss`` or ``accuracy``.
    """
    share = ending == "accuracy"
    kinds = {"training, with dropout": ("train", VERMILLION, "dash")}
    if histories[0][0].val_loss is not None:
        kinds["validation"] = ("val", BLUE, "solid")
    data: list[dict[str, Any]] = []
    for name, (kind, colour, dash) in kinds.items():
        values = [[getattr(epoch, f"{kind}_{ending}") for epoch in history] for history in histories]
        lines = [[math.nan if value is None else float(value) for value in line] for line in values]
        for number, line in enumerate(lines[:MOST_MEMBERS] if len(lines) > 1 else ()):
            data.append(_curve(line, f"member {number}", colour, 1, dash, share))
            data[-1] |= {"opacity": 0.35, "legendgroup": name, "showlegend": False}
        mean = [sum(each) / len(each) for each in zip(*lines, strict=False)]
        data.append(_curve(mean, name, colour, 2.5, dash, share) | {"legendgroup": name})
    axis = {"rangemode": "tozero", **({"tickformat": ".0%"} if share else {})}
    return _figure(data, {"xaxis": {"title": {"text": "epoch"}}, "yaxis": axis}, 300)


def reliability(bins: Sequence[Bin]) -> Figure:
    """Reliability diagram: accuracy and mean score of the clips in each bin of the highest score."""
    hover = "scores of %{customdata[0]}: mean %{customdata[1]}<br>right %{y:.1%} of %{customdata[2]} clips"
    bars = {
        "type": "bar",
        "name": "accuracy",
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
        "name": "mean score",
        "x": bars["x"],
        "y": numbers(part.confidence for part in bins),
        "marker": {"symbol": "line-ew-open", "size": 16, "color": VERMILLION, "line": {"width": 3}},
        "hovertemplate": "mean score %{y:.1%}<extra></extra>",
    }
    diagonal = _line([0, 1], [0, 1], "perfect calibration", GREY, 1.5, "dot")
    share = {"range": [0, 1], "tickformat": ".0%"}
    layout = {
        "xaxis": {**share, "title": {"text": "highest score"}},
        "yaxis": {**share, "title": {"text": "accuracy"}},
        "barmode": "overlay",
    }
    return _figure([bars, diagonal, claimed], layout, 330)


def factors(values: Mapping[str, Sequence[tuple[str, float]]]) -> Figure:
    """Box plots of the adaption factor of the sound for each class.

    Args:
        values: class → (clip, factor) pairs, lowest class first.
    """
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


def neighbours(points: np.ndarray, clips: Sequence[tuple[str, str]], scores: Scores) -> Figure:
    """Scatter plot of clips: colour and shape show the true class, hollow points are wrong predictions.

    Args:
        points: ``[N, 2]`` coordinates.
        clips: the N clips.
        scores: scores that include these clips.
    """
    place = {clip: number for number, clip in enumerate(scores.clips)}
    predictions = scores.predicted
    truth, predicted = zip(
        *((scores.truth[place[clip]], predictions[place[clip]]) for clip in clips), strict=True
    )
    names: list[str | None] = [*scores.classes, None]
    data = []
    for number, (name, colour) in enumerate(zip(names, [*class_colours(scores.classes), GREY], strict=True)):
        symbol = SYMBOLS[number % len(SYMBOLS)] if name else "circle"
        label = text(name or UNKNOWN)
        own = [i for i, known in enumerate(truth) if known == name]
        wrong = [i for i in own if name is not None and predicted[i] != name]
        right = [i for i in own if i not in wrong]
        for hollow, chosen in ((False, right), (True, wrong)) if own else ():
            data.append(
                {
                    "type": "scatter",
                    "mode": "markers",
                    "name": label,
                    "legendgroup": f"class {number}",
                    "showlegend": not hollow,
                    "x": numbers(points[chosen, 0]) or [None],  # None keeps the legend of an empty class
                    "y": numbers(points[chosen, 1]) or [None],
                    "marker": {"color": colour, "size": 8, "symbol": f"{symbol}-open" if hollow else symbol},
                    "text": [
                        f"{text('/'.join(clips[i]))}<br>{label}, predicted {text(predicted[i])}"
                        for i in chosen
                    ],
                    "hovertemplate": "%{text}<extra></extra>",
                }
            )
    bare = {"showticklabels": False, "showgrid": False, "zeroline": False, "ticks": ""}
    return _figure(data, {"xaxis": bare, "yaxis": bare}, 400)


def attention_over_time(
    attention: Mapping[str, AttentionOverTime], seconds: float, picture: str | None, top_hz: float | None
) -> Figure:
    """Attention over the time of a clip: faces above the spectrogram, sound below.

    Args:
        attention: ``visual``, ``audio`` or both; a stream that the clip does not have has no weights.
        seconds: duration of the clip.
        picture: data URL of the spectrogram from 0 to ``seconds``, if any.
        top_hz: highest frequency of the spectrogram, if known.
    """
    seconds = max([seconds, *(float(one.times.max()) for one in attention.values() if len(one.times))])
    heights = {"visual": 1.0, "picture": 0.8, "audio": 1.0}
    rows = [name for name in heights if name in attention or (name == "picture" and picture)]
    whole = sum(heights[name] for name in rows)
    data: list[dict[str, Any]] = []
    layout: dict[str, Any] = {"showlegend": False, "images": [], "annotations": []}
    top = 1.0
    for number, name in enumerate(rows, 1):
        last = number == len(rows)
        suffix = str(number) if number > 1 else ""
        axis, bottom = f"y{suffix}", top - heights[name] / whole
        own: dict[str, Any] = {"domain": [max(0.0, bottom + (0 if last else 0.05)), top], "fixedrange": True}
        layout[f"yaxis{suffix}"] = own
        top = bottom
        if name == "picture":
            high = top_hz / 1000 if top_hz else 1
            title = {"text": "kHz" if top_hz else "frequency"}
            own |= {"range": [0, high], "title": title, "showgrid": False, "nticks": 3}
            own["showticklabels"] = bool(top_hz)
            place = {"xref": "x", "yref": axis, "x": 0, "y": high, "sizex": seconds, "sizey": high}
            layout["images"].append({"source": picture, "sizing": "stretch", "layer": "below", **place})
            data.append({"type": "scatter", "x": [0, seconds], "y": [None, None], "yaxis": axis})
            continue
        what, colour = ("faces", BLUE) if name == "visual" else ("sound", VERMILLION)
        own |= {"title": {"text": what}, "rangemode": "tozero", "nticks": 4}
        equal = _line([0, seconds], [1, 1], "equal share", GREY, 1, "dot")
        data += [_weights(attention[name], what, colour, axis), {**equal, "yaxis": axis, "hoverinfo": "skip"}]
        if not len(attention[name].weights):
            place = {"xref": "paper", "yref": axis, "x": 0.5, "y": 0.5, "showarrow": False}
            layout["annotations"].append(
                {"text": f"no features of the {what} are stored for this clip", **place}
            )
    plain = {"fixedrange": True, "showgrid": False, "zeroline": False, "anchor": axis}
    layout["xaxis"] = {"range": [0, seconds], "title": {"text": "seconds"}, **plain}
    return _figure(data, layout, 60 + round(95 * whole))


def numbers(values: Iterable[float]) -> list[float | None]:
    """Round values to four significant digits, with None for NaN and infinity."""
    return [float(f"{value:.4g}") if math.isfinite(value) else None for value in map(float, values)]


def text(name: str) -> str:
    """Escape a name for Plotly, which interprets some HTML."""
    return html.escape(name, quote=False)


def _weights(attention: AttentionOverTime, what: str, colour: str, axis: str) -> dict[str, Any]:
    """Curve of attention weights over time, as multiples of an equal share.

    Weights at the same time are summed. If there are very many times, neighbours are averaged.
    """
    import numpy as np

    times, places = np.unique(np.round(attention.times, 4), return_inverse=True)
    moments = len(times)
    sums, counts = np.bincount(places, attention.weights, moments), np.ones(moments)
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
