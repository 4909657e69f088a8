"""Each attention against a plain loop over clips and frames in float64 (zhou2019 eq. 1-7)."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from avemo.fusion.attention import ATTENTIONS, Attention, attention_class
from avemo.fusion.errors import FusionError

N, T, D, HIDDEN = 4, 7, 5, 3
LENGTHS = (7, 3, 1, 4)
NAMES = tuple(ATTENTIONS)


def module(name: str) -> Attention:
    torch.manual_seed(0)
    return attention_class(name)(D, dropout=0.5, hidden=HIDDEN).double().eval()


def clips() -> tuple[Tensor, Tensor]:
    torch.manual_seed(1)
    mask = torch.arange(T) < torch.tensor(LENGTHS)[:, None]
    return torch.randn(N, T, D, dtype=torch.float64) * mask[..., None], mask


def dot(weights: Tensor, vector: list[float]) -> float:
    return sum(w * x for w, x in zip(weights.tolist(), vector, strict=True))


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def mean(weights: list[float], vectors: list[list[float]]) -> list[float]:
    width = len(vectors[0])
    return [sum(w * v[i] for w, v in zip(weights, vectors, strict=True)) / sum(weights) for i in range(width)]


def self_weights(attention: Attention, frames: list[list[float]]) -> list[float]:
    linear = attention.score[1]
    return [sigmoid(dot(linear.weight[0], f) + linear.bias.item()) for f in frames]


def loop(attention: Attention, frames: list[list[float]]) -> list[float]:
    """The equations as printed, one clip."""
    if attention.name == "self":
        return mean(self_weights(attention, frames), frames)
    if attention.name == "relation":
        alpha = self_weights(attention.own, frames)
        f_s = mean(alpha, frames)
        pairs = [f + f_s for f in frames]
        beta = self_weights(attention, pairs)
        return mean([a * b for a, b in zip(alpha, beta, strict=True)], pairs)
    reduce, _, u = attention.score
    gamma = []
    for f in frames:
        reduced = [math.tanh(dot(w, f) + b) for w, b in zip(reduce.weight, reduce.bias.tolist(), strict=True)]
        gamma.append(math.exp(dot(u.weight[0], reduced)))
    return mean(gamma, frames)


@pytest.mark.parametrize("name", NAMES)
def test_equals_the_plain_loop(name: str) -> None:
    attention = module(name)
    f, mask = clips()
    out = attention(f, mask)
    assert out.shape == (N, attention.out_features)
    for i, length in enumerate(LENGTHS):
        expected = loop(attention, f[i, :length].tolist())
        torch.testing.assert_close(out[i], torch.tensor(expected, dtype=torch.float64), rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_padding_and_neighbours_change_nothing(name: str) -> None:
    attention = module(name)
    f, mask = clips()
    f = torch.where(mask[..., None], f, torch.full_like(f, 1e3))  # whatever lies beyond the mask
    out = attention(f, mask)
    for i, length in enumerate(LENGTHS):
        alone = attention(f[i : i + 1, :length], mask[i : i + 1, :length])
        torch.testing.assert_close(out[i : i + 1], alone, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_a_clip_without_frames_gives_zeros_and_finite_gradients(name: str) -> None:
    attention = module(name)
    f, mask = clips()
    mask[1] = False
    f = (f * mask[..., None]).requires_grad_()
    out = attention(f, mask)
    assert torch.equal(out[1], torch.zeros(attention.out_features, dtype=torch.float64))
    out.square().sum().backward()
    gradients = [f.grad, *(parameter.grad for parameter in attention.parameters())]
    assert all(gradient is not None and gradient.isfinite().all() for gradient in gradients)
    assert any(gradient.abs().sum() > 0 for gradient in gradients[1:])


@pytest.mark.parametrize("name", NAMES)
def test_gradients(name: str) -> None:
    attention = module(name)
    f, mask = clips()
    assert torch.autograd.gradcheck(lambda x: attention(x, mask), f.requires_grad_())


@pytest.mark.parametrize("name", NAMES)
def test_large_scores_stay_finite(name: str) -> None:
    f, mask = clips()
    assert module(name)((f * 1e4).float().double(), mask).isfinite().all()


def test_the_second_half_of_relation_attention_is_f_s() -> None:
    attention = module("relation")
    f, mask = clips()
    assert torch.equal(attention(f, mask)[:, D:], attention.own(f, mask))


def test_dropout_touches_the_weights_and_not_what_is_summed() -> None:
    attention = module("self").train()
    same = torch.ones(2, T, D, dtype=torch.float64)
    mask = torch.ones(2, T, dtype=torch.bool)
    assert attention.weights(same, mask).unique().numel() > 1
    torch.testing.assert_close(attention(same, mask), same[:, 0], rtol=0, atol=1e-12)


def test_an_unknown_name() -> None:
    with pytest.raises(FusionError, match="'selfish'; there are self, relation, transformer"):
        attention_class("selfish")
