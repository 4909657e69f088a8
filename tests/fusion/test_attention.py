"""Each attention against a plain loop over clips and frames in float64."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from avemo.fusion.errors import FusionError
from avemo.fusion.heads.attention import ATTENTIONS, Attention, ConvolutionAttention, attention_class

N, T, D, HIDDEN = 4, 7, 5, 3
LENGTHS = (7, 3, 1, 4)
NAMES = tuple(ATTENTIONS)
TEMPERED = tuple(name for name, kind in ATTENTIONS.items() if kind.tempered)


def module(name: str, features: int = D, temperature: float = 1.0) -> Attention:
    torch.manual_seed(0)
    kind = attention_class(name)
    return kind(features, dropout=0.5, hidden=HIDDEN, temperature=temperature).double().eval()


def clips(features: int = D) -> tuple[Tensor, Tensor]:
    torch.manual_seed(1)
    mask = torch.arange(T) < torch.tensor(LENGTHS)[:, None]
    return torch.randn(N, T, features, dtype=torch.float64) * mask[..., None], mask


@pytest.mark.parametrize("name", NAMES)
def test_dropout_touches_what_weights_are_computed_of_and_not_what_is_summed(name: str) -> None:
    f, mask = clips()
    attention = module(name).train()
    dropped, (vectors, weights) = attention(f, mask), attention.weigh(f, mask)
    attention.eval()
    assert not torch.allclose(dropped, attention(f, mask))
    if name != "relation":  # half of whose vectors are a weighted mean themselves
        torch.testing.assert_close(vectors, attention.weigh(f, mask)[0])
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(N, dtype=torch.float64))
    none = attention_class(name)(D, dropout=0.0, hidden=HIDDEN).double()
    torch.testing.assert_close(none.train()(f, mask), none.eval()(f, mask))


def dot(weights: Tensor, vector: list[float]) -> float:
    return sum(w * x for w, x in zip(weights.tolist(), vector, strict=True))


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def mean(weights: list[float], vectors: list[list[float]]) -> list[float]:
    width = len(vectors[0])
    return [sum(w * v[i] for w, v in zip(weights, vectors, strict=True)) / sum(weights) for i in range(width)]


def self_weights(attention: Attention, frames: list[list[float]]) -> list[float]:
    linear = attention.score[0]
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
    temperature = attention.temperature.item()
    if attention.name == "conv":
        frames = [convolved(attention, f) for f in frames]
        reduced = frames
    else:
        layer = attention.score[0]
        reduced = [
            [dot(w, f) + b for w, b in zip(layer.weight, layer.bias.tolist(), strict=True)] for f in frames
        ]
    u = attention.score[-1].weight[0]
    gamma = [dot(u, [math.tanh(x) for x in f]) for f in reduced]
    return mean([math.exp(temperature * g) for g in gamma], frames)


def convolved(attention: Attention, f: list[float]) -> list[float]:
    """One filter of k weights that steps along f by k; zeros beyond its end."""
    weights, (bias,) = attention.reduce.weight[0].tolist(), attention.reduce.bias.tolist()
    k = len(weights)
    f = f + [0.0] * (-len(f) % k)
    return [
        bias + sum(w * x for w, x in zip(weights, f[i : i + k], strict=True)) for i in range(0, len(f), k)
    ]


@pytest.mark.parametrize(
    ("name", "features", "temperature"),
    [*((name, D, 1.0) for name in NAMES), *((name, 600, 0.25) for name in TEMPERED)],
)
def test_equals_the_plain_loop(name: str, features: int, temperature: float) -> None:
    attention = module(name, features, temperature)
    f, mask = clips(features)
    out = attention(f, mask)
    assert out.shape == (N, attention.out_features)
    for i, length in enumerate(LENGTHS):
        expected = loop(attention, f[i, :length].tolist())
        torch.testing.assert_close(out[i], torch.tensor(expected, dtype=torch.float64), rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_summed_and_its_weights(name: str) -> None:
    attention = module(name)
    f, mask = clips()
    mask[2] = False
    values, weights = attention.weigh(f, mask)
    torch.testing.assert_close(weights.sum(dim=1), mask.any(dim=1).double())
    assert not weights[~mask].any()
    summed = torch.einsum("nt,ntd->nd", weights, values)
    torch.testing.assert_close(
        summed[mask.any(dim=1)], attention(f, mask)[mask.any(dim=1)], rtol=0, atol=1e-12
    )


@pytest.mark.parametrize("name", TEMPERED)
def test_no_temperature_is_the_mean_and_a_high_one_the_best_frame(name: str) -> None:
    f, mask = clips()
    values, weights = module(name).weigh(f, mask)
    flat, sharp = (module(name, temperature=temperature)(f, mask) for temperature in (0.0, 1e7))
    for i, length in enumerate(LENGTHS):
        torch.testing.assert_close(flat[i], values[i, :length].mean(dim=0), rtol=0, atol=1e-12)
        torch.testing.assert_close(sharp[i], values[i, weights[i].argmax()], rtol=0, atol=1e-6)


def test_the_temperature_is_no_part_of_the_state() -> None:
    assert "temperature" not in module("transformer", temperature=0.5).state_dict()
    assert "temperature" in dict(module("transformer").named_buffers())  # so that members of any λ stack
    for name in set(NAMES) - set(TEMPERED):
        with pytest.raises(
            FusionError, match=f"{name} attention has no λ, so it cannot be 0.5; transformer and"
        ):
            module(name, temperature=0.5)


@pytest.mark.parametrize(
    ("features", "kernel", "outputs"),
    [
        (1024, 4, 256),
        (2048, 8, 256),
        (512, 2, 256),
        (256, 1, 256),
        (128, 1, 128),
        (600, 3, 200),
        (1000, 4, 250),
    ],
)
def test_the_convolution_steps_by_its_length_to_256_values_at_most(
    features: int, kernel: int, outputs: int
) -> None:
    attention = ConvolutionAttention(features)
    assert (attention.kernel, attention.out_features) == (kernel, outputs)
    values, _ = attention.weigh(torch.zeros(1, 1, features), torch.ones(1, 1, dtype=torch.bool))
    assert values.shape == (1, 1, outputs)


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
