"""Encoders that are trained with the head; they map an image over time to a sequence of vectors.

``1d-abfcn`` and ``2d-abfcn`` are the fully convolutional networks of zhou2021 §III-A and table I. Their
trunk is AlexNet's, which the paper names as its model and prints no sizes of; its layers are called as
torchvision's, so a file of those begins either.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..errors import FusionError
from ..training.batches import Padded
from .settings import EncoderSettings

WIDTHS = (64, 192, 384, 256, 256)
LAYERS = {  # kernel, stride, padding
    "0": (11, 4, 2),
    "3": (5, 1, 2),
    "6": (3, 1, 1),
    "8": (3, 1, 1),
    "10": (3, 1, 1),
}
POOLED = ("0", "3")  # the layers after which a pooling of 3 every 2 follows, beside the last
STRIDE, FIRST, LEAST = 32, 31, 63  # frames: a vector every 32, around the 32nd at first; 63 give the first


class LocalResponseNorm(nn.Module):
    """x_i / (k + α Σ_j x_j²)^β over the n channels around i (zhou2021 eq. 1).

    The constants are those of Krizhevsky et al. 2012, which the paper refers to. torch's layer of this name
    divides α by n (so it is 5e-4 there), and takes 1.7 times as long.
    """

    def __init__(self, size: int = 5, alpha: float = 1e-4, beta: float = 0.75, k: float = 2.0) -> None:
        super().__init__()
        self.size, self.alpha, self.beta, self.k = size, alpha, beta, k

    def forward(self, x: Tensor) -> Tensor:
        """``[N, C, F, T]`` to the same."""
        half = self.size // 2
        squares = functional.pad(x * x, (0, 0, 0, 0, half, half))
        total = squares.unfold(1, self.size, 1).sum(dim=-1)
        return x * (self.k + self.alpha * total) ** -self.beta


class ConvolutionalEncoder(nn.Module):
    """AlexNet's five convolutions and three poolings over ``[bins, T]``, each ReLU followed by LRN or not.

    Every clip of a padded batch gives what it gives alone: before each convolution what lies beyond a
    clip's own end is zero, as its own zero-padding is, and of each layer's output as many steps are kept as
    the clip alone would have. A clip under 63 frames is followed by zeros up to these, which in
    standardised values is the training clips' mean; one without frames has no vectors.

    Args:
        features: D of a frame, ``channels × bins``.
        channels: see :class:`EncoderSettings`.
        pooled: the last pooling takes the maximum over all bins, so that there is one vector a step
            (``1d-abfcn``); without, one a step and remaining bin, low bins first (``2d-abfcn``).
        lrn: see :class:`EncoderSettings`.
        widths: channels after each convolution.

    Attributes:
        out_features: 256.

    Raises:
        FusionError: too few bins for the layers, or D is no multiple of the channels.
    """

    def __init__(
        self,
        features: int,
        channels: int = 1,
        pooled: bool = True,
        lrn: bool = True,
        widths: tuple[int, int, int, int, int] = WIDTHS,
    ) -> None:
        super().__init__()
        least = 31 if pooled else LEAST
        if features % channels or features // channels < least:
            raise FusionError(
                f"frames of {features} values are no picture of {channels} channels of {least} bins or more, "
                "which this encoder needs; give it another feature"
            )
        self.channels, self.pooled, self.out_features = channels, pooled, widths[-1]
        self.features = nn.ModuleDict(
            {
                name: _convolution(inputs, outputs, *shape)
                for (name, shape), inputs, outputs in zip(
                    LAYERS.items(), (channels, *widths[:-1]), widths, strict=True
                )
            }
        )
        self.normalise = LocalResponseNorm() if lrn else nn.Identity()

    def forward(self, stream: Padded) -> Padded:
        """``[N, T, D]`` to ``[N, n, 256]``, with n = ⌊(T - 63) / 32⌋ + 1 steps times the bins that are left.

        A vector's time is that of the frame in the middle of those it sees, or of the clip's last one.
        """
        frames = stream.mask.sum(dim=1, keepdim=True)
        x = self._picture(stream)
        lengths = torch.where(frames > 0, frames.clamp(min=LEAST), 0)
        for name, shape in LAYERS.items():
            x = self.normalise(functional.relu(self.features[name](_within(x, lengths))))
            lengths = _steps(lengths, *shape)
            if name in POOLED:
                x, lengths = functional.max_pool2d(x, 3, 2), _steps(lengths, 3, 2)
        x = functional.max_pool2d(x, (x.shape[2] if self.pooled else 3, 3), (2, 2))
        lengths = _steps(lengths, 3, 2)
        steps = torch.arange(x.shape[3], device=x.device)
        middles = torch.minimum(steps * STRIDE + FIRST, (frames - 1).clamp(min=0))
        bins = x.shape[2]
        return Padded(
            x.permute(0, 3, 2, 1).flatten(1, 2),
            (steps < lengths).repeat_interleave(bins, dim=1),
            stream.times.gather(1, middles).repeat_interleave(bins, dim=1),
        )

    def start_from(self, state: Mapping[str, Tensor]) -> None:
        """Take the convolutions of a file's ``state``, ``features.0.weight`` and so on; the rest is left out.

        A first convolution over three channels goes to one by its sum: one channel in all three is what a
        spectrogram is to a network of pictures.

        Raises:
            FusionError: they are not there, or of other shapes.
        """
        wanted = {name: value.shape for name, value in self.state_dict().items()}
        given = {name: state[name] for name in wanted if name in state}
        first = given.get("features.0.weight")
        if first is not None and first.ndim == 4 and first.shape[1] == 3 and self.channels == 1:
            given["features.0.weight"] = first.sum(dim=1, keepdim=True)
        wrong = [name for name, shape in wanted.items() if name not in given or given[name].shape != shape]
        if wrong:
            raise FusionError(
                f"the weights to start from do not fit: {', '.join(wrong)} missing or of another shape; "
                "a file of AlexNet's convolutions, called as torchvision's, is expected"
            )
        self.load_state_dict(given)

    def _picture(self, stream: Padded) -> Tensor:
        """``[N, channels, bins, T]``, of 63 frames at least and zero beyond the mask."""
        values = stream.values * stream.mask.unsqueeze(-1)
        picture = values.reshape(*stream.mask.shape, self.channels, -1).permute(0, 2, 3, 1)
        return functional.pad(picture, (0, max(0, LEAST - picture.shape[-1])))


ENCODERS = {"1d-abfcn": True, "2d-abfcn": False}  # whether the bins are pooled to one


def build_encoder(settings: EncoderSettings, features: int) -> ConvolutionalEncoder:
    """The encoder that ``settings`` ask for, over frames of ``features`` values.

    Raises:
        FusionError: there is none of that name, or it cannot read such frames.
    """
    if settings.name not in ENCODERS:
        raise FusionError(f"there is no encoder {settings.name!r}; there are {', '.join(ENCODERS)}")
    return ConvolutionalEncoder(features, settings.channels, ENCODERS[settings.name], settings.lrn)


def _convolution(inputs: int, outputs: int, kernel: int, stride: int, padding: int) -> nn.Conv2d:
    """A layer whose random weights keep the size of what passes; torch's own shrink it by 2.4 a layer."""
    layer = nn.Conv2d(inputs, outputs, kernel, stride, padding)
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def _within(x: Tensor, lengths: Tensor) -> Tensor:
    """``[N, C, F, T]`` with zeros beyond each clip's length ``[N, 1]``."""
    inside = torch.arange(x.shape[3], device=x.device) < lengths
    return x * inside[:, None, None, :]


def _steps(lengths: Tensor, kernel: int, stride: int, padding: int = 0) -> Tensor:
    """Steps that a layer makes of so many, each clip alone; below 1 for one that has none."""
    return (lengths + 2 * padding - kernel) // stride + 1
