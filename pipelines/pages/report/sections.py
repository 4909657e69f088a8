"""The sections of a report: each is a function from results to HTML."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from ..html import Html, element, percent, section, table, together
from .charts import bars, confusion
from .clips import Choice, viewer
from .figures import MOST_MEMBERS, drawn, factors, learning, neighbours, reliability
from .insight import Seen
from .published import published

if TYPE_CHECKING:
    from ....fusion.evaluation.comparison import Matched
    from ....fusion.evaluation.intervals import Interval
    from ....fusion.evaluation.metrics import Summary
    from ....fusion.evaluation.scores import Scores
    from ....fusion.training.cards import Card
    from ....fusion.training.training import Epoch

FIGURES = ("clips", "accuracy", "UAR", "macro F1")
ASSETS = {"styles": ("report.css",), "scripts": ("sort.js", "report.js")}


@dataclass(frozen=True)
class Group:
    """A group of clips with figures; ``fitted`` if members were trained on them."""

    name: str
    scores: Scores
    fitted: bool = False

    @cached_property
    def summary(self) -> Summary:
        """Its figures."""
        from ....fusion.evaluation.metrics import summary

        return summary(self.scores)

    @property
    def row(self) -> list[object]:
        """Its figures as cells under :data:`FIGURES`, its name first."""
        found = self.summary
        return [self.name, found.clips, *map(percent, (found.accuracy, found.uar, found.macro_f1))]


@dataclass(frozen=True)
class Results:
    """The results of a run.

    Attributes:
        name: of its folder.
        card: what it was made with.
        groups: the labelled clips, a group for each split.
        faces: those of each group in which a face was found, where that is known and not all.
        histories: each member's epochs; empty for a cross-validation.
        members: accuracy of each member alone on held-out clips, 0 to 1, where known.
        unlabelled: scores of the clips whose class is not known.
        prior: what was done to the mean scores of an ensemble, as names and values; empty for a run.
        choices: clips to look at closely, of :attr:`closely`.
        wrong: how many of those are wrong in all.
        seen: what there is to see of them.
        baseline: the clips that a baseline scored too, its scores first.
    """

    name: str
    card: Card
    groups: Sequence[Group]
    faces: Mapping[str, Group]
    histories: Sequence[Sequence[Epoch]]
    members: Sequence[float]
    unlabelled: Scores | None = None
    prior: Mapping[str, object] = field(default_factory=dict)
    choices: Sequence[Choice] = ()
    wrong: int = 0
    seen: Seen = field(default_factory=Seen)
    baseline: Matched | None = None

    @property
    def shown(self) -> list[Group]:
        """The groups to look at closely: those not trained on, or all where there are no others."""
        return [group for group in self.groups if not group.fitted] or list(self.groups)

    @property
    def closely(self) -> Group | None:
        """The clips to look at one by one; None where there are none at all."""
        if self.groups:
            return self.shown[0]
        return Group("clips whose class is not known", self.unlabelled) if self.unlabelled else None


def comparison(runs: Sequence[Results]) -> Html:
    """All runs side by side, on the clips of each that are to be looked at first."""
    rows = [
        [f"{run.name}, {group.name}", *group.row[1:]] for run in runs if run.groups for group in run.shown[:1]
    ]
    return section("Runs compared", table(["", *FIGURES], rows, sortable=True))


def run_report(run: Results) -> Html:
    """All sections of one run."""
    parts = [element("h2", run.name)]
    if not run.groups:
        parts.append(
            element("p", "No true classes are known of the clips scored, so nothing can be counted.")
        )
    else:
        parts += [headline(run), summary_table(run), *against(run)]
        parts += [class_figures(group) for group in run.shown]
        parts += [calibration(group) for group in run.shown]
    parts += [element("p", note, class_="note") for note in run.seen.notes]
    if run.choices and run.closely:
        parts.append(closely(run, run.closely))
    if run.seen.factors and run.closely:
        parts += adaption(run.seen, run.closely)
    if run.seen.planes and run.closely:
        parts.append(planes(run.seen, run.closely))
    if run.histories:
        parts.append(learning_curves(run.histories))
    if run.prior:
        parts.append(section("Temperature and prior", _definitions(run.prior)))
    if run.card.settings:
        parts.append(settings(run.card))
    return element("article", *parts)


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
    """Figures over all labelled clips of each group, and over those with a face; chance, and how far the
    first group's figures may be off."""
    from ....fusion.evaluation.intervals import bootstrap

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
    first = run.shown[0]
    luck = bootstrap(first.scores)
    texts.append(
        f"95 % bootstrap intervals on {first.name}: accuracy {_range(luck.accuracy)}, "
        f"UAR {_range(luck.uar)}, macro F1 {_range(luck.macro_f1)}. Clips are drawn one by one: where "
        "several are of one person, the truth is wider."
    )
    classes = len(first.scores.classes)
    counts = first.summary.confusion.sum(axis=1)
    often = first.scores.classes[int(counts.argmax())]
    texts.append(
        f"Chance: guessing among {classes} classes has an unweighted average recall of "
        f"{percent(1 / classes)}; saying {often} of every clip has an accuracy of "
        f"{percent(counts.max() / counts.sum())}."
    )
    return section(
        "Summary", table(["", *FIGURES], rows), *(element("p", text, class_="faint") for text in texts)
    )


def against(run: Results) -> list[Html]:
    """The run beside its baseline, and beside what papers print for the same clips."""
    parts = [_beside(run.name, run.baseline)] if run.baseline else []
    printed = published(run.shown[0].scores) if run.groups else ()
    if printed:
        own = (element("b", f"{run.name}, here"), percent(run.shown[0].summary.accuracy), "")
        rows = [own, *((name, percent(accuracy), where) for name, accuracy, where in printed)]
        text = "By their classes these are AFEW's 383 validation clips. The papers' networks are others."
        parts.append(
            section(
                "Beside the papers",
                table(["", "accuracy", "printed in"], rows),
                element("p", text, class_="faint"),
            )
        )
    return [element("div", *parts, class_="columns")] if parts else []


def _beside(name: str, matched: Matched) -> Html:
    from ....fusion.evaluation.comparison import errors
    from ....fusion.evaluation.metrics import summary
    from ....fusion.evaluation.significance import matched_pair, mcnemar

    both = matched.first, matched.second
    figures = [summary(scores) for scores in both]
    rows = [
        [who, found.clips, percent(found.accuracy), percent(found.uar)]
        for who, found in zip(("baseline", name), figures, strict=True)
    ]
    wrong = [errors([scores], scores) for scores in both]
    exact = mcnemar(wrong[0] == 0, wrong[1] == 0)
    text = (
        f"Right on {exact.only_second} clips that the baseline gets wrong, wrong on {exact.only_first} that "
        f"it gets right: p = {exact.two_tailed:.3g} (McNemar, exact, two-tailed)."
    )
    if figures[0].clips > 1:
        pair = matched_pair(*wrong)
        low, high = pair.interval
        lead = f"Accuracy {pair.difference:+.1%} (95 % interval {low:+.1%} to {high:+.1%}), p = "
        text = f"{lead}{pair.two_tailed:.3g} (matched pairs, two-tailed). {text}"
    left = matched.only_first + matched.only_second + matched.unlabelled
    text += f" {_count(left, 'clip')} that not both have, or without a class, left out." if left else ""
    return section(
        "Against the baseline",
        table(["", "clips", "accuracy", "UAR"], rows),
        element("p", text, class_="faint"),
    )


def class_figures(group: Group) -> Html:
    """Confusion matrix and accuracy of each class."""
    from ....fusion.evaluation.intervals import of_share

    found = group.summary
    right = {
        name: (int(row[place]), int(row.sum()), of_share(int(row[place]), int(row.sum())))
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
        section(
            f"Accuracy of each class on {group.name}",
            bars(right),
            element("p", "Brackets: Wilson's 95 % intervals.", class_="faint"),
        ),
        class_="columns",
    )


def calibration(group: Group) -> Html:
    """What scores claim beside what comes true, clips put together by their highest score."""
    from ....fusion.evaluation.calibration import BINS
    from ....fusion.evaluation.calibration import expected_calibration_error as ece
    from ....fusion.evaluation.calibration import reliability as bins_of

    bins = bins_of(group.scores)
    rows = [
        [
            f"{percent(part.low)} to {percent(part.high)}",
            part.clips,
            percent(part.confidence),
            percent(part.accuracy),
        ]
        for part in bins
    ]
    error = percent(ece(group.scores))
    text = f"Expected calibration error over {BINS} bins: {error}; 0 if as many are right as scores say."
    return section(
        f"Calibration on {group.name}",
        element(
            "div",
            drawn(reliability(bins), f"Reliability diagram on {group.name}"),
            element("div", table(["highest score", "clips", "its mean", "accuracy"], rows)),
            class_="columns",
        ),
        element("p", text, class_="faint"),
    )


def closely(run: Results, group: Group) -> Html:
    """Some clips: what was seen and heard, and where the members looked."""
    fitted = " Members were trained on these clips." if group.fitted else ""
    curves = (
        " Curves: attention weights, averaged over members, as multiples of an equal share "
        "(zhou2021 fig. 6); between them the spectrogram."
    )
    text = f"From {group.name}.{fitted}{curves if run.seen.attention else ''}"
    missing = "This clip is not in the store, or there is none."
    body = viewer(run.choices, run.wrong, run.seen.films, run.seen.attention, missing)
    return section("Clips, most wrong and most sure", element("p", text, class_="faint"), body)


def adaption(seen: Seen, group: Group) -> list[Html]:
    """Adaption factors of each class."""
    truth = dict(zip(group.scores.clips, group.scores.truth, strict=True))
    of_class: dict[str, list[tuple[str, float]]] = {}
    for clip, value in seen.factors.items():
        if truth.get(clip) is not None and value == value:  # NaN: a clip without both streams
            of_class.setdefault(str(truth[clip]), []).append(("/".join(clip), value))
    if not of_class:
        return []
    means = {name: sum(value for _, value in own) / len(own) for name, own in of_class.items()}
    ordered = sorted(of_class, key=lambda name: means[name])
    rows = [[name, len(of_class[name]), f"{means[name]:.3f}"] for name in reversed(ordered)]
    text = (
        "μ = ‖sound‖ / (‖sound‖ + ‖pictures‖) of the attended streams, averaged over members "
        "(zhou2021 eq. 15-16, fig. 7); η of the pictures is 1 - μ. Dashed: the mean of a class."
    )
    return [
        section(
            f"Adaption factors on {group.name}",
            element(
                "div",
                drawn(factors({name: of_class[name] for name in ordered}), "Adaption factors of each class"),
                element("div", table(["", "clips", "mean μ"], rows)),
                class_="columns",
            ),
            element("p", text, class_="faint"),
        )
    ]


def planes(seen: Seen, group: Group) -> Html:
    """Embeddings before and after fusion, in a plane each."""
    place = {clip: i for i, clip in enumerate(group.scores.clips)}
    own = [place[clip] for clip in seen.clips]
    predicted = group.scores.predicted
    charts = [
        section(
            title,
            drawn(
                neighbours(
                    points,
                    ["/".join(clip) for clip in seen.clips],
                    [group.scores.truth[i] for i in own],
                    [predicted[i] for i in own],
                    group.scores.classes,
                ),
                f"{title}, t-SNE of {group.name}",
            ),
        )
        for title, points in seen.planes.items()
    ]
    text = (
        f"t-SNE of {group.name} (zhou2021 fig. 9): who is near whom; axes and distances between groups mean "
        "nothing. Filled: predicted right; hollow: wrong."
    )
    return together([element("div", *charts, class_="columns"), element("p", text, class_="faint")])


def learning_curves(histories: Sequence[Sequence[Epoch]]) -> Html:
    """Loss and accuracy of all members over epochs."""
    charts = [
        section(title, drawn(learning(histories, ending), f"{title} over epochs"))
        for title, ending in (("Loss (cross-entropy)", "loss"), ("Accuracy", "accuracy"))
    ]
    text = "The last epoch is the model: validation clips choose nothing."
    if histories[0][0].val_loss is None:
        text = ""
    if len(histories) > 1:
        drawn_ones = "each" if len(histories) <= MOST_MEMBERS else f"{MOST_MEMBERS}"
        text = f"Thin: {drawn_ones} of {len(histories)} members; thick: the mean of all. {text}"
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
    return ", ".join(f"{name} {value}" for name, value in values.items() if value is not None)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _mean_and_deviation(values: Sequence[float]) -> tuple[float, float]:
    from statistics import mean, stdev

    return mean(values), stdev(values)


def _range(interval: Interval) -> str:
    return f"{percent(interval.low)} to {percent(interval.high)}"
