"""Splits samples into a training and a held-out part."""

from __future__ import annotations

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold

from .errors import PretrainError
from .labelled import PackedSamples


def fitted_and_held_out(
    packed: PackedSamples, share: float, seed: int, noun: str = "picture"
) -> tuple[np.ndarray, np.ndarray]:
    """Return the indices of the training part, and of the held-out part.

    The held-out part is the data set's own ``val`` part if it has one. Otherwise it is about ``share`` of
    the training samples, drawn by ``seed`` and stratified by class, with groups kept together. ``test``
    samples are in neither. Errors call a sample ``noun``.

    Raises:
        PretrainError: a part would be empty, or a class has no training sample.
    """
    training = np.flatnonzero(~np.isin(packed.parts, ("val", "test")))
    held_out = np.flatnonzero(packed.parts == "val")
    if not len(held_out) and share > 0:
        training, held_out = _divided(packed, training, share, seed, noun)
    if not len(training):
        raise PretrainError(f"no {noun} is left to train on: all of them belong to val or test")
    absent = np.setdiff1d(np.arange(len(packed.classes)), packed.targets[training])
    if len(absent):
        names = ", ".join(packed.classes[place] for place in absent)
        raise PretrainError(f"no {noun} to train on for {names}: add some, or remove the class")
    return training, held_out


def _divided(
    packed: PackedSamples, rows: np.ndarray, share: float, seed: int, noun: str
) -> tuple[np.ndarray, np.ndarray]:
    folds = max(2, round(1 / share))
    targets, groups = packed.targets[rows], packed.groups[rows]
    rarest = np.bincount(targets)[np.unique(targets)].min() if len(rows) else 0
    if rarest < 2 or len(np.unique(groups)) < folds:
        raise PretrainError(
            f"{len(rows)} {noun}s, {rarest} of the rarest class, are too few to hold {share:g} of them out: "
            "add some, or train on all with a held-out share of 0"
        )
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    training, held_out = next(splitter.split(np.zeros(len(rows)), targets, groups))
    return rows[np.sort(training)], rows[np.sort(held_out)]
