"""Encoders trained with the head; they map an image over time to a sequence of vectors.

``1d-abfcn`` and ``2d-abfcn`` are the fully convolutional networks of zhou2021 §III-A and table I. Their
convolutions are AlexNet's, since the paper names AlexNet as its model but prints no sizes. Layer names match
torchvision's, so either encoder can start from a torchvision checkpoint.
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
POOLED = ("0", "3")  # layers followed by a max pooling (size 3, stride 2), besides the last layer
STRIDE, FIRST, LEAST = 32, 31, 63  # frames: step between vectors, middle of the first one, and its length


class LocalResponseNorm(nn.Module):
    """x_i / (k + α Σ_j x_j²)^β over the n channels around i (zhou2021 eq. 1).

    The constants are from Krizhevsky et al. 2012, which the paper cites. torch's layer of this name divides
    α by n (there it would be 5e-4) and takes 1.7 times as long.
    """

    def __init__(self, size: int = 5, alpha: float = 1e-4, beta: float = 0.75, k: float = 2.0) -> None:
        super().__init__()
        self.size, self.alpha, self.beta, self.k = size, alpha, beta, k

    def forward(self, x: Tensor) -> Tensor:
        """Normalise ``[N, C, F, T]``."""
        half = self.size // 2
        squares = functional.pad(x * x, (0, 0, 0, 0, half, half))
        total = squares.unfold(1, self.size, 1).sum(dim=-1)
        return x * (self.k + self.alpha * total) ** -self.beta


class ConvolutionalEncoder(nn.Module):
    """AlexNet's five convolutions and three poolings over ``[bins, T]``, with optional LRN after each ReLU.

    Each clip of a padded batch gives the same result as alone: before each convolution, values beyond the
    clip's end are set to zero, like its own zero-padding, and each layer keeps as many steps as for the clip
    alone. A clip of fewer than 63 frames is padded with zeros (the training clips' mean, as values are
    standardised). A clip without frames gives no vectors.

    Args:
        features: D of a frame, ``channels × bins``.
        channels: see :class:`EncoderSettings`.
        pooled: whether the last pooling is over all bins, which gives one vector per step (``1d-abfcn``);
            otherwise one per step and remaining bin, low bins first (``2d-abfcn``).
        lrn: see :class:`EncoderSettings`.
        widths: channels after each convolution.

    Attributes:
        out_features: channels after the last convolution, 256 by default.

    Raises:
        FusionError: there are too few bins for the layers, or D is not a multiple of the channels.
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
                f"frames of {features} values cannot be read as {channels} channels of {least} bins or more, "
                "which this encoder needs; use another feature"
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
        """Map ``[N, T, D]`` to ``[N, n, 256]``, n = (⌊(T - 63) / 32⌋ + 1 steps) × (remaining bins).

        A vector's time is that of the middle frame of its receptive field, or of the clip's last frame if
        that is earlier.
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
        """Load the convolutions (``features.0.weight`` and so on) from a checkpoint's ``state``.

        Other entries are ignored. If the encoder has one channel, a first convolution over three channels is
        summed over them, which equals feeding the spectrogram into all three.

        Raises:
            FusionError: a convolution is missing or has a different shape.
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
                "expected AlexNet's convolutions under torchvision's names"
            )
        self.load_state_dict(given)

    def _picture(self, stream: Padded) -> Tensor:
        """Return images ``[N, channels, bins, T]`` with T of at least 63, zero for padding."""
        values = stream.values * stream.mask.unsqueeze(-1)
        picture = values.reshape(*stream.mask.shape, self.channels, -1).permute(0, 2, 3, 1)
        return functional.pad(picture, (0, max(0, LEAST - picture.shape[-1])))


ENCODERS = {"1d-abfcn": True, "2d-abfcn": False}  # whether all bins are pooled into one


def build_encoder(settings: EncoderSettings, features: int) -> ConvolutionalEncoder:
    """Build an encoder for frames of ``features`` values.

    Raises:
        FusionError: there is no such encoder, or it cannot read such frames.
    """
    if settings.name not in ENCODERS:
        raise FusionError(f"there is no encoder {settings.name!r}; there are {', '.join(ENCODERS)}")
    return ConvolutionalEncoder(features, settings.channels, ENCODERS[settings.name], settings.lrn)


def _convolution(inputs: int, outputs: int, kernel: int, stride: int, padding: int) -> nn.Conv2d:
    """Return a convolution with He initialisation; torch's default shrinks activations 2.4-fold per layer."""
    layer = nn.Conv2d(inputs, outputs, kernel, stride, padding)
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def _within(x: Tensor, lengths: Tensor) -> Tensor:
    """Zero ``[N, C, F, T]`` beyond each clip's length ``[N, 1]``."""
    inside = torch.arange(x.shape[3], device=x.device) < lengths
    return x * inside[:, None, None, :]


def _steps(lengths: Tensor, kernel: int, stride: int, padding: int = 0) -> Tensor:
    """Return the number of output steps of a layer for each clip alone; below 1 if there are none."""
    return (lengths + 2 * padding - kernel) // stride + 1
