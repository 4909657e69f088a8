"""The recipe of a training: every setting that affects the result."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field, fields
from typing import Any, TypeVar

from .errors import PretrainError


def setting(default: float, means: str, least: float = 0, most: float = math.inf) -> Any:
    """Define an augmentation setting with its meaning and its limits."""
    return field(default=default, metadata={"means": means, "limits": (least, most)})


@dataclass(frozen=True)
class Augmentation:
    """The augmentation of face pictures, drawn anew for each use."""

    flip: bool = setting(True, "mirror half of the pictures")
    rotate: float = setting(15.0, "largest rotation, in degrees", most=180)
    scale: float = setting(1.2, "largest factor of enlarging or shrinking", 1)
    shift: float = setting(0.08, "largest shift, as a share of the picture's side", most=1)
    light: float = setting(0.3, "strength of changes in contrast, brightness and side light")
    blur: float = setting(0.8, "largest deviation of the blur of half of the pictures, in pixels")
    noise: float = setting(6.0, "largest deviation of the noise, in grey levels")
    erase: float = setting(0.5, "share of pictures with a blanked rectangle of 2 to 20 % of the area", most=1)


@dataclass(frozen=True)
class AudioChanges:
    """The augmentation of recordings, drawn anew for each use.

    A filter changes the level at six frequencies and interpolates in between, like another microphone in
    another room (after Nam et al. 2022, arXiv:2110.03282). The noise density falls as 1 / f^c from 50 Hz on,
    with c from 0 (white) to 2 (brown); the signal-to-noise ratio is at most 30 dB. A time mask is never
    longer than a fifth of a recording.
    """

    frames: int = setting(300, "length of the excerpt, in frames of 10 ms", 63)
    shift: float = setting(0.1, "largest delay of the start, in seconds; at most a quarter of the recording")
    speed: float = setting(1.0, "largest factor of speeding up or slowing down", 1, 2)
    gain: float = setting(6.0, "largest change of level, in decibels")
    filter: float = setting(6.0, "largest change of level by frequency, in decibels")
    noise: float = setting(0.5, "share of recordings with added noise", most=1)
    snr: float = setting(5.0, "lowest signal-to-noise ratio, in decibels", -math.inf, 30)
    time_mask: float = setting(0.3, "longest of two masked stretches, in seconds")
    frequency_mask: float = setting(0.15, "widest of two masked bands, as a share of all bins", most=1)


@dataclass(frozen=True)
class SegmentChanges:
    """The augmentation of MFCC images, drawn anew for each use.

    Images are never mirrored or rotated: their columns are frames, their rows coefficients. A shift repeats
    the first or last frame; a time mask is never longer than a fifth of a segment.
    """

    shift: int = setting(4, "largest shift in time, in frames of 10 ms", most=32)
    time_mask: float = setting(0.1, "longest of two masked stretches, in seconds")
    coefficient_mask: float = setting(0.1, "widest of two masked bands, as a share of the rows", most=1)


Changes = TypeVar("Changes", Augmentation, AudioChanges, SegmentChanges)


def changes_of(kind: type[Changes], text: str) -> Changes:
    """Parse an augmentation from ``NAME=VALUE,…``; raise :class:`PretrainError` if a setting is invalid."""
    known = {each.name: each for each in fields(kind)}
    values: dict[str, Any] = {}
    for item in filter(None, map(str.strip, text.split(","))):
        name, _, value = item.partition("=")
        if name not in known:
            raise PretrainError(f"--augment {item}: expected NAME=VALUE, of {', '.join(known)}")
        least, most = known[name].metadata["limits"]
        own: Any = type(known[name].default)
        try:
            values[name] = {"true": True, "false": False}[value] if own is bool else own(value)
            if not least <= values[name] <= most:
                raise ValueError
        except (KeyError, ValueError) as error:
            wanted = {bool: "true or false", int: "a whole number"}.get(own, "a number")
            limits = "" if own is bool else f" from {least:g} to {most:g}".replace(" to inf", " on")
            raise PretrainError(f"--augment {item}: expected {wanted}{limits}") from error
    return kind(**values)


@dataclass(frozen=True)
class TrainingRecipe:
    """All settings of a training; the same recipe, data and device give the same weights.

    Attributes:
        epochs: passes over the training part.
        batch: samples a step, over all devices.
        optimiser: ``sgd`` (Nesterov momentum 0.9) or ``adamw``.
        learning_rate: peak learning rate; it rises for ``warm_up`` epochs, then falls to 0 along half a
            cosine.
        weight_decay: decay of the weights; not applied to biases and batch norms.
        label_smoothing: share of each label that is spread over all classes.
        dropout: dropout of the features below the class layer.
        mixup: both parameters of mixup's Beta distribution; 0 for no mixup.
        balance: ``none``; ``sampling`` to draw all classes equally often; ``weights`` to weight them equally.
        ema: decay of the weights' moving average (the final weights) at each step; 0 for none.
        patience: epochs without a better held-out accuracy after which to stop; 0 for never.
        small_size: side in pixels of pictures in the first epochs, which saves time; 0 for full size.
        small_share: share of the epochs with small pictures.
        seed: seed of all random numbers.
        augmentation: augmentation of pictures, or another task's own settings as a dataclass.
    """

    epochs: int = 60
    batch: int = 128
    optimiser: str = "sgd"
    learning_rate: float = 0.1
    warm_up: float = 2.0
    weight_decay: float = 5e-4
    label_smoothing: float = 0.1
    dropout: float = 0.2
    mixup: float = 0.0
    balance: str = "none"
    ema: float = 0.999
    patience: int = 0
    small_size: int = 0
    small_share: float = 0.6
    seed: int = 0
    augmentation: Any = field(default_factory=Augmentation)

    def settings(self) -> dict[str, Any]:
        """Return all settings as plain values, for a card."""
        return asdict(self)

    def size(self, epoch: int, full: int) -> int:
        """Return the side of pictures in ``epoch`` (from 0) in pixels; ``full`` is the network's own.

        The last epoch always has the full size, at which the weights are chosen.
        """
        small = min(self.small_share * self.epochs, self.epochs - 1)
        return self.small_size if self.small_size and epoch < small else full
