"""Audio classifiers: an encoder of stage 1 or of a head, with its input and a classification layer."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from ..extract.backbones.audio import as_picture, long_enough
from ..fusion.heads.attention import TransformerAttention, weighted_mean
from ..fusion.heads.encoders import ConvolutionalEncoder
from ..fusion.training.batches import Padded
from .audio_inputs import AudioInput, input_named
from .classifier import Classifier
from .errors import PretrainError
from .recordings import Sounds

NETWORKS = ("alexnet", "fcn")
POOLINGS = ("attention", "mean")


@dataclass(frozen=True)
class AudioNetwork:
    """An audio network without its weights.

    ``alexnet`` is stage 1's audio network: AlexNet over a spectrogram as a picture in three colours, n
    vectors of 256 values. ``fcn`` is zhou2021's 1D-ABFCN: the same layers over standardised values, each
    with or without LRN, and the bins pooled to one.

    Attributes:
        name: in :data:`NETWORKS`.
        input: in :data:`.audio_inputs.INPUTS`.
        lrn: whether ``fcn`` has its LRN; ``alexnet`` never has.
        pooling: of the vectors over time, in :data:`POOLINGS`.
        temperature: λ of the attention (zhou2021 eq. 4).
        mean, std: of each of the D values of a frame in the recordings fitted, for ``fcn``.

    Raises:
        PretrainError: a setting is unknown, or does not fit the others.
    """

    name: str = "alexnet"
    input: str = "spectrogram"
    lrn: bool = False
    pooling: str = "attention"
    temperature: float = 1.0
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if self.name not in NETWORKS:
            raise PretrainError(f"no audio network is called {self.name!r}: expected {' or '.join(NETWORKS)}")
        if self.pooling not in POOLINGS:
            raise PretrainError(
                f"vectors cannot be pooled by {self.pooling!r}: expected {' or '.join(POOLINGS)}"
            )
        if self.pictures and self.reads.channels != 1:
            raise PretrainError(f"alexnet reads spectrograms alone: for {self.input}, take fcn")
        if self.pictures and self.lrn:
            raise PretrainError("alexnet has no local response normalisation: take fcn")
        sizes = {len(self.mean), len(self.std)}
        if sizes not in ({0}, {self.reads.channels * self.reads.bins}) or min(self.std, default=1.0) <= 0:
            raise PretrainError(f"means and deviations that are not one a value of {self.input}")

    @property
    def pictures(self) -> bool:
        """Whether it reads pictures that are normalised each by itself."""
        return self.name == "alexnet"

    @property
    def reads(self) -> AudioInput:
        return input_named(self.input)

    def fitted_to(self, sounds: Sounds, rows: Iterable[int], on_sound: Callable[[], object]) -> AudioNetwork:
        """With the mean and deviation of these sounds; a value that does not vary is left as it is."""
        if self.pictures:
            return self
        count, total, squares = 0, np.zeros(()), np.zeros(())
        for row in rows:
            values = self.reads.of(sounds[row]).astype(np.float64)
            count += len(values)
            total, squares = total + values.sum(0), squares + (values**2).sum(0)
            on_sound()
        mean = total / count
        std = np.sqrt(np.maximum(squares / count - mean**2, 0))
        std = np.where(std > 1e-6 * np.abs(mean) + 1e-12, std, 1)
        return replace(self, mean=tuple(mean.ravel().tolist()), std=tuple(std.ravel().tolist()))

    def classifier(self, classes: int, dropout: float = 0.0) -> Classifier:
        """The network with so many classes, random; it reads what :meth:`plain` and :func:`joined` give."""
        reads = self.reads
        if self.pictures:
            encoder = ConvolutionalEncoder(3 * reads.bins, 3, pooled=False, lrn=False)
        else:
            encoder = ConvolutionalEncoder(reads.channels * reads.bins, reads.channels, lrn=self.lrn)
        temperature = self.temperature if self.pooling == "attention" else None
        return Classifier(PooledEncoder(encoder, temperature), encoder.out_features, classes, dropout)

    def prepared(self, values: Tensor, mask: Tensor) -> Tensor:
        """``[B, T, K, F]`` of the input → ``[B, T, C, F]``, normalised; zero beyond ``mask`` ``[B, T]``."""
        inside = mask[:, :, None, None]
        if self.pictures:
            cells = values.masked_fill(~inside, -torch.inf).squeeze(2)
            normalised = as_picture(cells.transpose(1, 2)).permute(0, 3, 1, 2)
        else:
            mean, std = (
                torch.tensor(v, device=values.device).reshape(values.shape[2:]) for v in (self.mean, self.std)
            )
            normalised = (values - mean) / std
        return torch.where(inside, normalised, 0.0)

    def plain(self, sound: np.ndarray) -> Tensor:
        """The network's input ``[T, D + 1]`` of one sound, as stage 1 would have it; see :func:`joined`."""
        values = torch.from_numpy(self.reads.of(sound))
        if self.pictures:
            values = long_enough(values.squeeze(1).T)[0].T.unsqueeze(1)
        mask = torch.ones(1, len(values), dtype=torch.bool)
        return joined(self.prepared(values.unsqueeze(0), mask), mask)[0]


def joined(prepared: Tensor, mask: Tensor) -> Tensor:
    """``[B, T, C, F]`` and ``[B, T]`` → ``[B, T, C F + 1]``: a frame's last value says that it is there."""
    return torch.cat([prepared.flatten(2), mask.unsqueeze(2).to(prepared.dtype)], dim=2)


class PooledEncoder(nn.Module):
    """``[B, T, D + 1]``, see :func:`joined`, to one vector ``[B, 256]`` each.

    Args:
        encoder: gives a vector every 32 frames.
        temperature: λ of the attention by which they are pooled; None for their mean.
    """

    def __init__(self, encoder: ConvolutionalEncoder, temperature: float | None) -> None:
        super().__init__()
        self.encoder = encoder
        self.attention = (
            None
            if temperature is None
            else TransformerAttention(encoder.out_features, temperature=temperature)
        )

    def forward(self, inputs: Tensor) -> Tensor:
        values, mask = inputs[..., :-1], inputs[..., -1] > 0  # a share of a frame, as mixup leaves, is one
        vectors = self.encoder(Padded(values, mask, torch.zeros_like(inputs[..., -1])))
        if self.attention is None:
            return weighted_mean(vectors.values, vectors.mask.to(vectors.values.dtype))
        pooled: Tensor = self.attention(vectors.values, vectors.mask)
        return pooled
