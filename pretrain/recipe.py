"""The recipe of a training: every setting that affects the result."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Augmentation:
    """The augmentation of pictures, drawn anew for each use.

    Attributes:
        flip: mirror half of the pictures.
        rotate: up to so many degrees either way.
        scale: up to so many times larger or smaller.
        shift: up to this share of the picture's side, in x and y.
        light: contrast up to e^±light, brightness ±light / 2 of its range, and as strong a ramp of light
            across the face.
        blur: up to this deviation, in pixels, of half of the pictures.
        noise: up to this deviation, in grey levels.
        erase: the share of pictures in which a rectangle of 2 to 20 % of the area is blanked.
    """

    flip: bool = True
    rotate: float = 15.0
    scale: float = 1.2
    shift: float = 0.08
    light: float = 0.3
    blur: float = 0.8
    noise: float = 6.0
    erase: float = 0.5


@dataclass(frozen=True)
class TrainingRecipe:
    """All settings of a training; the same recipe, data and device give the same weights.

    Attributes:
        epochs: passes over the training part.
        batch: pictures a step, over all devices together.
        optimiser: ``sgd`` (Nesterov momentum 0.9) or ``adamw``.
        learning_rate: the highest; it rises for ``warm_up`` epochs and falls along half a cosine to 0.
        weight_decay: of the weights; biases and batch norms have none.
        label_smoothing: share of each label that is spread over all classes.
        dropout: of the features, below the classes.
        mixup: both parameters of the Beta distribution by which pictures are mixed in pairs; 0 for none.
        balance: ``none``; ``sampling``, every class as often; ``weights``, every class as heavy.
        ema: decay of the weights' moving average at each step; 0 for none.
        patience: stop after so many epochs without a better accuracy on the held-out part; 0 for never.
        small_size: train on pictures of this many pixels first, which costs less; 0 for never.
        small_share: the share of the epochs that do so.
        seed: of everything random.
        augmentation: of pictures, or another task's own settings as a dataclass.
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
        """All of it as plain values, for a card."""
        return asdict(self)

    def size(self, epoch: int, full: int) -> int:
        """The side in pixels that pictures have in ``epoch`` (from 0), ``full`` being the network's own.

        The last epoch always has the full size, which is the one that the weights are chosen at.
        """
        small = min(self.small_share * self.epochs, self.epochs - 1)
        return self.small_size if self.small_size and epoch < small else full
