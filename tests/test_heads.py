"""Whole heads: padding, absent streams, names."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from avemo.fusion.attention import ATTENTIONS
from avemo.fusion.batches import Batcher, Padded, Standardisation
from avemo.fusion.corpus import Sequences
from avemo.fusion.errors import FusionError
from avemo.fusion.heads import HEADS, Head, HeadSettings, build_head

FEATURES = {"visual": 6, "audio": 4}
LENGTHS = {"visual": (5, 9, 0, 2), "audio": (3, 0, 4, 1)}
NAMES = tuple(HEADS)


def sequences() -> dict[str, Sequences]:
    rng = np.random.default_rng(0)
    return {
        stream: Sequences.of(
            [rng.normal(3, 5, size=(n, FEATURES[stream])).astype(np.float32) if n else None for n in lengths]
        )
        for stream, lengths in LENGTHS.items()
    }


def batcher() -> Batcher:
    streams = sequences()
    everything = np.arange(4)
    return Batcher(streams, {name: Standardisation.of(streams[name], everything) for name in streams})


def head(name: str, attention: str = "transformer") -> Head:
    torch.manual_seed(0)
    settings = HeadSettings(name, attention, attention, hidden=5, outputs=7, factors=2)
    return build_head(settings, FEATURES, 3).eval()


@pytest.mark.parametrize("attention", tuple(ATTENTIONS))
@pytest.mark.parametrize("name", NAMES)
def test_batched_and_padded_equals_one_by_one(name: str, attention: str) -> None:
    batches, model = batcher(), head(name, attention)
    together = model(batches(torch.arange(4)))
    assert together.shape == (4, 3)
    for i in range(4):
        alone = batches(torch.tensor([i]))
        torch.testing.assert_close(together[i : i + 1], model(alone), rtol=0, atol=1e-6)
        cut = {s: Padded(p.values[:, : p.mask.sum()], p.mask[:, : p.mask.sum()]) for s, p in alone.items()}
        torch.testing.assert_close(together[i : i + 1], model(cut), rtol=0, atol=1e-6)


@pytest.mark.parametrize("attention", tuple(ATTENTIONS))
@pytest.mark.parametrize("name", NAMES)
def test_absent_streams_give_finite_logits_and_gradients(name: str, attention: str) -> None:
    model = head(name, attention).train()
    logits = model(batcher()(torch.arange(4)))
    torch.nn.functional.cross_entropy(logits, torch.tensor([0, 1, 2, 0])).backward()
    assert logits.isfinite().all()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("name", ["fbp", "concat"])
def test_a_fused_head_without_sound_still_judges_by_the_pictures(name: str) -> None:
    batch = batcher()(torch.tensor([1, 1]))
    values, mask = batch["visual"]
    values[1] += 1
    assert not batch["audio"].mask.any()
    logits = head(name)({**batch, "visual": Padded(values, mask)})
    assert not torch.allclose(logits[0], logits[1])


def test_heads_of_one_stream_read_only_that() -> None:
    batch = batcher()(torch.arange(4))
    for name, stream in (("audio", "audio"), ("faces", "visual")):
        model = head(name)
        torch.testing.assert_close(model({stream: batch[stream]}), model(batch))


def test_standardised_training_vectors_have_zero_mean_and_unit_variance() -> None:
    streams = sequences()
    streams["visual"].values[:, 0] = 0.1  # constant, and not exactly representable
    standard = Standardisation.of(streams["visual"], np.array([0, 1]))
    expected = streams["visual"].values[:14].astype(np.float64)
    np.testing.assert_allclose(standard.mean, expected.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(standard.scale[1:], 1 / expected[:, 1:].std(axis=0), rtol=1e-6)
    assert standard.scale[0] == 1
    batch = Batcher(streams, {"visual": standard})(torch.tensor([0, 1, 2]))["visual"]
    frames = batch.values[batch.mask]
    torch.testing.assert_close(frames.mean(dim=0), torch.zeros(6), rtol=0, atol=1e-6)
    torch.testing.assert_close(frames[:, 1:].std(dim=0, correction=0), torch.ones(5), rtol=0, atol=1e-5)
    assert batch.mask.sum(dim=1).tolist() == [5, 9, 0]
    assert not batch.values[~batch.mask].any()


def test_unknown_names() -> None:
    with pytest.raises(FusionError, match="no fusion 'sum'; there are fbp, concat, audio, faces"):
        build_head(HeadSettings("sum"), FEATURES, 3)
    with pytest.raises(FusionError, match="no attention 'x'"):
        build_head(HeadSettings(visual_attention="x"), FEATURES, 3)
