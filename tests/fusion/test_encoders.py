"""Trained encoders: local response normalisation, convolutions of padded clips, weights to start from."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torchvision
from torch import Tensor, nn

from avemo.fusion.errors import FusionError
from avemo.fusion.heads.encoders import (
    ENCODERS,
    ConvolutionalEncoder,
    EncoderSettings,
    LocalResponseNorm,
    build_encoder,
)
from avemo.fusion.training.batches import Padded

BINS = 64
LENGTHS = (140, 63, 95, 10, 0, 131)
WIDTHS = (6, 7, 8, 7, 6)


def encoder(pooled: bool = True, lrn: bool = True, channels: int = 1) -> ConvolutionalEncoder:
    torch.manual_seed(0)
    return ConvolutionalEncoder(channels * BINS, channels, pooled, lrn, WIDTHS).double().eval()


def stream(lengths: tuple[int, ...] = LENGTHS, features: int = BINS) -> Padded:
    """Clips of random frames, 10 ms apart from 0.02 s on; nonsense beyond their ends."""
    torch.manual_seed(1)
    steps = torch.arange(max(lengths))
    mask = steps < torch.tensor(lengths)[:, None]
    values = torch.randn(len(lengths), max(lengths), features, dtype=torch.float64) * 3
    times = (0.02 + 0.01 * steps.double()).expand(mask.shape)
    return Padded(torch.where(mask[..., None], values, 1e3), mask, torch.where(mask, times, 1e3))


def clip(batch: Padded, number: int, length: int) -> Padded:
    """One clip alone, without padding."""
    return Padded(*(part[number : number + 1, :length] for part in batch))


def test_local_response_normalisation_against_the_loop_of_the_equation() -> None:
    torch.manual_seed(0)
    b = torch.rand(2, 9, 3, 4, dtype=torch.float64) * 50
    out = LocalResponseNorm()(b)
    k, n, alpha, beta, channels = 2, 5, 1e-4, 0.75, b.shape[1]
    for place in np.ndindex(*b.shape):
        sample, i, y, x = place
        total = 0.0
        for j in range(max(0, i - n // 2), min(channels - 1, i + n // 2) + 1):
            total += b[sample, j, y, x].item() ** 2
        assert out[place].item() == pytest.approx(b[place].item() / (k + alpha * total) ** beta, rel=1e-12)
    torch.testing.assert_close(out, nn.LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2.0)(b))


def test_local_response_normalisation_has_gradients() -> None:
    torch.manual_seed(0)
    b = torch.rand(1, 6, 2, 2, dtype=torch.float64) * 50
    assert torch.autograd.gradcheck(LocalResponseNorm(), b.requires_grad_())


def convolved(x: np.ndarray, layer: nn.Conv2d) -> np.ndarray:
    weights, bias = layer.weight.detach().numpy(), layer.bias.detach().numpy()
    (stride, _), (padding, _), size = layer.stride, layer.padding, layer.kernel_size[0]
    x = np.pad(x, ((0, 0), (padding, padding), (padding, padding)))
    height, width = ((extent - size) // stride + 1 for extent in x.shape[1:])
    out = np.empty((len(weights), height, width))
    for o, i, j in np.ndindex(out.shape):
        out[o, i, j] = bias[o] + (weights[o] * x[:, i * stride :, j * stride :][:, :size, :size]).sum()
    return out


def pooled(x: np.ndarray, height: int) -> np.ndarray:
    rows, columns = (x.shape[1] - height) // 2 + 1, (x.shape[2] - 3) // 2 + 1
    out = np.empty((len(x), rows, columns))
    for i, j in np.ndindex(rows, columns):
        out[:, i, j] = x[:, 2 * i : 2 * i + height, 2 * j : 2 * j + 3].max(axis=(1, 2))
    return out


def normalised(x: np.ndarray) -> np.ndarray:
    squares = [np.square(x[max(0, i - 2) : i + 3]).sum(axis=0) for i in range(len(x))]
    return x / (2 + 1e-4 * np.stack(squares)) ** 0.75


@pytest.mark.parametrize("all_bins", [True, False])
@pytest.mark.parametrize("lrn", [True, False])
def test_equals_the_plain_layers(all_bins: bool, lrn: bool) -> None:
    network = encoder(all_bins, lrn)
    alone = clip(stream(), 2, LENGTHS[2])
    x = alone.values[0].T[None].numpy()
    for name, layer in network.features.items():
        x = np.maximum(convolved(x, layer), 0)
        x = normalised(x) if lrn else x
        x = pooled(x, 3) if name in ("0", "3") else x
    x = pooled(x, x.shape[1] if all_bins else 3)
    expected = [x[:, i, j] for j in range(x.shape[2]) for i in range(x.shape[1])]  # by time, then by bin
    out = network(alone)
    assert out.values.shape == (1, len(expected), WIDTHS[-1])
    np.testing.assert_allclose(out.values[0].detach().numpy(), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("all_bins", [True, False])
@pytest.mark.parametrize("lrn", [True, False])
def test_a_padded_clip_gives_what_it_gives_alone(all_bins: bool, lrn: bool) -> None:
    network, batch = encoder(all_bins, lrn), stream()
    together = network(batch)
    steps = [max(0, (max(length, 63) - 63) // 32 + 1) if length else 0 for length in LENGTHS]
    assert together.mask.sum(dim=1).tolist() == steps  # 64 bins leave one at the end
    for number, length in enumerate(LENGTHS):
        alone = network(clip(batch, number, max(1, length)))
        count = int(alone.mask.sum())
        assert count == steps[number]
        torch.testing.assert_close(  # not to the last bit: some processors sum other shapes in another order
            together.values[number, :count], alone.values[0, :count], rtol=1e-12, atol=1e-14
        )
        assert torch.equal(together.times[number, :count], alone.times[0, :count])


def test_a_short_clip_is_followed_by_zeros() -> None:
    short = clip(stream(), 3, 10)
    longer = Padded(
        nn.functional.pad(short.values, (0, 0, 0, 53)),
        torch.ones(1, 63, dtype=torch.bool),
        torch.linspace(0, 1, 63, dtype=torch.float64)[None],
    )
    network = encoder()
    assert torch.equal(network(short).values, network(longer).values)


def test_times_are_those_of_the_middle_frames() -> None:
    out = encoder()(stream())
    seconds = [[round(t, 6) for t, inside in zip(*row, strict=True) if inside]
               for row in zip(out.times.tolist(), out.mask.tolist(), strict=True)]  # fmt: skip
    frames = [[31, 63, 95], [31], [31, 63], [9], [], [31, 63, 95]]  # the clip of 10 frames: its last
    assert seconds == [[round(0.02 + 0.01 * f, 6) for f in row] for row in frames]
    gradient = stream().values.requires_grad_()
    seen = encoder(lrn=False)(stream()._replace(values=gradient)).values[0, 1].sum()
    (sensitive,) = torch.autograd.grad(seen, gradient)
    (felt,) = sensitive[0].abs().sum(dim=1).nonzero(as_tuple=True)
    assert felt.min() <= 63 <= felt.max()


@pytest.mark.parametrize("name", tuple(ENCODERS))
def test_vectors_of_the_paper(name: str) -> None:
    network = build_encoder(EncoderSettings(name), 200)
    frames = torch.zeros(1, 240, 200)
    out = network(Padded(frames, torch.ones(1, 240, dtype=torch.bool), torch.zeros(1, 240)))
    steps = (240 - 63) // 32 + 1
    assert out.values.shape == (1, steps * (1 if name == "1d-abfcn" else 5), 256)
    assert network.out_features == 256


def test_2d_is_torchvisions_trunk_on_three_equal_channels() -> None:
    torch.manual_seed(0)
    alexnet = torchvision.models.alexnet(weights=None)
    for layer in alexnet.features:
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight)
    network = build_encoder(EncoderSettings("2d-abfcn", lrn=False), 200)
    network.start_from(alexnet.state_dict())
    frames = torch.randn(2, 130, 200)
    out = network(Padded(frames, torch.ones(2, 130, dtype=torch.bool), torch.zeros(2, 130)))
    picture = frames.transpose(1, 2).unsqueeze(1).expand(2, 3, 200, 130)
    maps: Tensor = alexnet.features(picture)
    assert maps.shape == (2, 256, 5, 3)
    expected = maps.permute(0, 3, 2, 1).reshape(2, 15, 256)
    torch.testing.assert_close(out.values, expected, rtol=1e-4, atol=1e-4 * expected.abs().max().item())


def test_weights_of_three_channels_stay_three_where_the_frames_have_as_many() -> None:
    state = encoder(channels=3).state_dict()
    network = encoder(channels=3)
    nn.init.zeros_(network.features["0"].weight)
    network.start_from({**state, "classifier.1.weight": torch.zeros(3)})
    assert torch.equal(network.features["0"].weight, state["features.0.weight"])


def test_weights_that_do_not_fit() -> None:
    network = encoder()
    with pytest.raises(FusionError, match=r"do not fit: features.0.weight, .* missing or of another shape"):
        network.start_from({})
    state = {**network.state_dict(), "features.3.weight": torch.zeros(1)}
    with pytest.raises(FusionError, match=r"do not fit: features.3.weight missing"):
        network.start_from(state)


def test_frames_that_are_no_picture() -> None:
    with pytest.raises(FusionError, match="frames of 30 values cannot be read as 1 channels of 31 bins"):
        build_encoder(EncoderSettings("1d-abfcn"), 30)
    with pytest.raises(FusionError, match="frames of 120 values cannot be read as 3 channels of 63 bins"):
        build_encoder(EncoderSettings("2d-abfcn", channels=3), 120)
    with pytest.raises(FusionError, match="200 values cannot be read as 3 channels"):
        build_encoder(EncoderSettings("1d-abfcn", channels=3), 200)
    with pytest.raises(FusionError, match="no encoder 'x'; there are 1d-abfcn, 2d-abfcn"):
        build_encoder(EncoderSettings("x"), 200)


def test_three_channels_of_few_bins() -> None:
    torch.manual_seed(0)
    network = ConvolutionalEncoder(3 * 40, 3, widths=WIDTHS).double()
    batch = stream((70, 130), 120)
    channels = clip(batch, 1, 130).values.unflatten(-1, (3, 40))  # x, y, z of each marker, say
    assert torch.equal(network._picture(clip(batch, 1, 130))[0, 2, 5], channels[0, :, 2, 5])
    assert network(batch).values.shape == (2, 3, 6)


@pytest.mark.parametrize("lrn", [True, False])
def test_gradients(lrn: bool) -> None:
    network, batch = encoder(lrn=lrn), stream((70, 20, 0))
    for layer in network.features.values():  # away from the corner of ReLU, where zeros would be
        nn.init.uniform_(layer.bias, -1, 1)
    parameters = tuple(network.parameters())

    def run(values: Tensor, *_: Tensor) -> Tensor:
        out = network(batch._replace(values=values))
        return out.values * out.mask.unsqueeze(-1)

    inputs = (batch.values.requires_grad_(), *parameters)
    assert torch.autograd.gradcheck(run, inputs, fast_mode=True)


def test_random_weights_carry_the_sound_through() -> None:
    torch.manual_seed(0)
    frames = torch.randn(4, 240, 200)
    batch = Padded(frames, torch.ones(4, 240, dtype=torch.bool), torch.zeros(4, 240))
    for lrn, least in ((False, 0.3), (True, 0.02)):
        out = build_encoder(EncoderSettings("1d-abfcn", lrn=lrn), 200)(batch).values
        assert out.std(dim=(0, 1)).mean() > least


def test_members_can_be_stacked() -> None:
    members = [encoder(), encoder()]
    for parameter in members[1].parameters():
        parameter.data.mul_(1.5)
    parameters, buffers = torch.func.stack_module_state(members)
    batch = stream()

    def one(parameters: dict[str, Tensor], buffers: dict[str, Tensor]) -> Tensor:
        return torch.func.functional_call(members[0], (parameters, buffers), (batch,)).values

    stacked = torch.vmap(one)(parameters, buffers)
    for member, values in zip(members, stacked, strict=True):
        torch.testing.assert_close(values, member(batch).values, rtol=1e-10, atol=1e-10)
