"""The sections of a run's report: each is a function of what is known of the run, and returns HTML."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from .page import Html, element, percent, section, table, together
from .report_charts import Lines, bars, confusion, curves, legend

if TYPE_CHECKING:
    from ..fusion.cards import Card
    from ..fusion.metrics import Summary
    from ..fusion.scores import Scores
    from ..fusion.training import Epoch

FIGURES = ("clips", "accuracy", "UAR", "macro F1")
TRAIN, VALIDATION = {"training, with dropout": "train"}, {"validation": "val"}


@dataclass(frozen=True)
class Group:
    """Clips over which figures are told; ``fitted`` where members were trained on them."""

    name: str
    scores: Scores
    fitted: bool = False

    @cached_property
    def summary(self) -> Summary:
        """Its figures."""
        from ..fusion.metrics import summary

        return summary(self.scores)

    @property
    def row(self) -> list[object]:
        """Its figures as cells under :data:`FIGURES`, its name first."""
        found = self.summary
        return [self.name, found.clips, *map(percent, (found.accuracy, found.uar, found.macro_f1))]


@dataclass(frozen=True)
class Results:
    """What is known of a run.

    Attributes:
        name: of its folder.
        card: what it was made with.
        groups: the labelled clips, a group for each split.
        faces: those of each group in which a face was found, where that is known and not all.
        histories: each member's epochs; empty for a cross-validation.
        members: accuracy of each member alone on held-out clips, 0 to 1, where known.
    """

    name: str
    card: Card
    groups: Sequence[Group]
    faces: Mapping[str, Group]
    histories: Sequence[Sequence[Epoch]]
    members: Sequence[float]

    @property
    def shown(self) -> list[Group]:
        """The groups to look at closely: those not trained on, or all where there are no others."""
        return [group for group in self.groups if not group.fitted] or list(self.groups)


def comparison(runs: Sequence[Results]) -> Html:
    """All runs side by side, on the clips of each that are to be looked at first."""
    rows = [[f"{run.name}, {group.name}", *group.row[1:]] for run in runs for group in run.shown[:1]]
    return section("Runs compared", table(["", *FIGURES], rows))


def run_report(run: Results) -> Html:
    """All sections of one run."""
    parts = [element("h2", run.name)]
    if not run.groups:
        parts.append(
            element("p", "No true classes are known of the clips scored, so nothing can be counted.")
        )
    else:
        parts += [headline(run), summary_table(run)]
        parts += [class_figures(group) for group in run.shown]
        parts += [calibration(group) for group in run.shown]
    if run.histories:
        parts.append(learning_curves(run.histories))
    return element("article", *parts, settings(run.card))


def headline(run: Results) -> Html:
    """The figures of the first group, large."""
    group = run.shown[0]
    names = zip(
        ("labelled clips", "accuracy", "unweighted average recall", "macro F1"), group.row[1:], strict=True
    )
    tiles = [element("div", element("b", value), name, class_="tile") for name, value in names]
    caption = f"Mean of {_count(run.card.facts['members'], 'member')} on {group.name}"
    return together([element("p", caption, class_="faint"), element("div", *tiles, class_="tiles")])


def summary_table(run: Results) -> Html:
    """Figures over all labelled clips of each group, and over those with a face."""
    rows = []
    for group in run.groups:
        rows += [part.row for part in (group, run.faces.get(group.name)) if part]
    texts = []
    if any(group.fitted for group in run.groups):
        texts.append("Figures over clips trained on tell nothing of others.")
    if len(run.members) > 1:
        mean, spread = _mean_and_deviation(run.members)
        texts.append(
            f"One member alone: accuracy {percent(mean)} ± {percent(spread)} on {run.shown[0].name} "
            f"(mean ± standard deviation over {len(run.members)} members)."
        )
    classes = len(run.shown[0].scores.classes)
    texts.append(
        f"Guessing among {classes} classes has an unweighted average recall of {percent(1 / classes)}."
    )
    return section(
        "Summary", table(["", *FIGURES], rows), *(element("p", text, class_="faint") for text in texts)
    )


def class_figures(group: Group) -> Html:
    """Confusion matrix and accuracy of each class."""
    found = group.summary
    right = {
        name: (int(row[place]), int(row.sum()))
        for place, (name, row) in enumerate(zip(found.classes, found.confusion, strict=True))
        if row.sum()
    }
    return element(
        "div",
        section(
            f"Confusion on {group.name}",
            confusion(found.classes, found.confusion),
            element("p", "Share of each true class, and clips.", class_="faint"),
        ),
        section(f"Accuracy of each class on {group.name}", bars(right)),
        class_="columns",
    )


def calibration(group: Group) -> Html:
    """What scores claim beside what comes true, clips put together by their highest score."""
    from ..fusion.calibration import BINS, expected_calibration_error, reliability

    rows = [
        [
            f"{percent(part.low)} to {percent(part.high)}",
            part.clips,
            percent(part.confidence),
            percent(part.accuracy),
        ]
        for part in reliability(group.scores)
    ]
    error = percent(expected_calibration_error(group.scores))
    text = f"Expected calibration error over {BINS} bins: {error}; 0 if as many are right as scores say."
    return section(
        f"Calibration on {group.name}",
        table(["highest score", "clips", "its mean", "accuracy"], rows),
        element("p", text, class_="faint"),
    )


def learning_curves(histories: Sequence[Sequence[Epoch]]) -> Html:
    """Loss and accuracy of all members over epochs."""
    watched = histories[0][0].val_loss is not None
    kinds = {**TRAIN, **(VALIDATION if watched else {})}
    charts = []
    for title, ending in (("Loss (cross-entropy)", "loss"), ("Accuracy", "accuracy")):
        lines = [
            Lines(
                style, [[getattr(epoch, f"{style}_{ending}") for epoch in history] for history in histories]
            )
            for style in kinds.values()
        ]
        charts.append(section(title, legend(kinds), curves(lines, title, share=ending == "accuracy")))
    text = f"Thin: each of {len(histories)} members; thick: their mean. " if len(histories) > 1 else ""
    text += "The last epoch is the model: validation clips choose nothing." if watched else ""
    return together([element("div", *charts, class_="columns"), element("p", text, class_="faint")])


def settings(card: Card) -> Html:
    """What the run was made with, and the keys of its features."""
    given, facts = card.settings, card.facts
    rows = {
        "made by": f"avemo {facts.get('avemo', '?')}, a {card.kind} run",
        "command": element("code", _command(facts.get("command", []))),
        "clips": _pairs(facts.get("clips", {})),
        "training clips": _pairs(facts.get("train_counts", {})),
        **{
            f"{stream} feature": f"{part['name']}, {part['dimensions']} values"
            for stream, part in given["features"].items()
        },
        **{
            name: _pairs(value) if isinstance(value, Mapping) else value
            for part in ("head", "training")
            for name, value in given[part].items()
        },
        **{
            name: given[name]
            for name in ("seed", "fit_on", "folds", "normalise")
            if given.get(name) is not None
        },
        **({"selection": _pairs(given["selection"])} if given.get("selection") else {}),
        "members": facts["members"],
    }
    keys = [_key(stream, given["keys"][stream], values)
            for part in given["features"].values() for stream, values in part["streams"].items()]  # fmt: skip
    return section("Settings", _definitions(rows), element("h3", "What the features were made with"), *keys)


def _command(words: Sequence[str]) -> str:
    program, *options = map(str, words or ["?"])
    return shlex.join([PurePath(program).name, *options])


def _key(stream: str, digest: str, values: Mapping[str, Any]) -> Html:
    title = element("summary", stream, " ", element("code", digest, class_="faint"))
    return element("details", title, _definitions(values))


def _definitions(values: Mapping[str, Any]) -> Html:
    pairs = [
        element("div", element("dt", name.replace("_", " ")), element("dd", value))
        for name, value in values.items()
    ]
    return element("dl", *pairs, class_="settings")


def _pairs(values: Mapping[str, object]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _mean_and_deviation(values: Sequence[float]) -> tuple[float, float]:
    from statistics import mean, stdev

    return mean(values), stdev(values)
