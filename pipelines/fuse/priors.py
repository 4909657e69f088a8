"""The priors that ``--prior`` can name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from ...fusion.evaluation.priors import Prior, Reestimate
    from ...fusion.evaluation.scores import Scores

EM = "em"
REESTIMATED = "transductive: prior re-estimated by EM"
HELP = """\b
--prior multiplies the mean scores by class weights (zhou2019 section 3):
  none        as they are
  train, val  square roots of the training or validation labels' counts
  FILE        a CSV of class,weight or class,count (of which the square root
              is taken), or a JSON object of weights
  emotiw2019  square roots of the counts of EmotiW 2019's test labels
  em          the shares of the classes among the clips themselves, found by
              expectation-maximisation without their labels (Saerens, Latinne
              & Decaestecker 2002), over those of the training labels.
              Transductive; needs calibrated scores: --temperature
"""

EMOTIW2019_TEST_COUNTS = {
    "Angry": 98,
    "Disgust": 40,
    "Fear": 70,
    "Happy": 144,
    "Neutral": 193,
    "Sad": 80,
    "Surprise": 28,
}


def choose(
    source: str, train_counts: Mapping[str, int] | None, val_counts: Mapping[str, int] | None = None
) -> Prior | None:
    """Return the prior that ``source`` names: ``none``, ``train``, ``val``, ``emotiw2019`` or a file.

    Args:
        source: one of the names, or a file for :func:`avemo.fusion.evaluation.priors.from_file`.
        train_counts: training clips of each class, for ``train``; None if not known.
        val_counts: clips of each class in the split ``val``, for ``val``; None if not known.

    Raises:
        click.UsageError: counts are needed but not known.
        FusionError: the file cannot be used.
    """
    from ...fusion.evaluation.priors import from_counts, from_file

    if source == "none":
        return None
    if source == "emotiw2019":
        note = "the square roots of EmotiW 2019's test counts: a prior over that challenge's test labels"
        return from_counts(EMOTIW2019_TEST_COUNTS, note)
    if source == "val":
        if not val_counts:
            raise click.UsageError(
                "--prior val needs scores of labelled clips of the split val; name a run or scores that have "
                "them, or give a CSV of class,count as --prior FILE"
            )
        return from_counts(val_counts, "the square roots of the validation labels' counts")
    if source != "train":
        return from_file(Path(source))
    return from_counts(_known(source, train_counts), "the square roots of the training labels' counts")


def weighting(
    source: str, train_counts: Mapping[str, int] | None, val_counts: Mapping[str, int] | None
) -> Callable[[Scores], Prior | None]:
    """Return a function from scores to their prior: that of :func:`choose` for all, or ``em``'s for each.

    Raises:
        click.UsageError: counts are needed but not known.
        FusionError: a file cannot be used.
    """
    if source == EM:
        return partial(_reestimated, _known(source, train_counts))
    prior = choose(source, train_counts, val_counts)
    return lambda scores: prior


def _known(source: str, train_counts: Mapping[str, int] | None) -> Mapping[str, int]:
    if not train_counts:
        raise click.UsageError(
            f"--prior {source} needs the number of training clips of each class; runs record it; for "
            "other scores give a CSV of class,count with --counts"
        )
    return train_counts


def _reestimated(train_counts: Mapping[str, int], scores: Scores) -> Prior:
    from ...fusion.evaluation.priors import Prior, reestimate

    found = reestimate(scores, train_counts)
    return Prior(found.weights, _told(found, len(scores.clips)))


def _told(found: Reestimate, clips: int) -> str:
    shares = ", ".join(
        f"{name} {share:.3f} (trained {found.trained[name]:.3f})" for name, share in found.shares.items()
    )
    state = f"{found.iterations} iterations" if found.converged else f"not converged after {found.iterations}"
    lost = [name for name, share in found.shares.items() if share * clips < 1]
    warning = (
        f"\n  warning: it leaves less than one clip to {', '.join(lost)}; unless there are none, these "
        "scores are not probabilities, and the estimate is wrong: see --temperature"
    )
    return (
        f"classes' shares among these {clips} clips, re-estimated by EM without their labels (transductive): "
        f"{shares}; {state}; p = {found.p_value:.3g} under the trained shares"
    ) + (warning if lost else "")
