"""What members look at: weights, factors and embeddings against the heads' own, and against plain loops."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from avemo.cache.clips import Clip
from avemo.fusion.errors import FusionError
from avemo.fusion.evaluation.insight import inspect_members, plane
from avemo.fusion.features.corpus import Corpus, Sequences
from avemo.fusion.heads.base import EmbeddingHead
from avemo.fusion.heads.bilinear import adaption_factors
from avemo.fusion.heads.registry import (
    HEADS,
    HeadSettings,
    TrunkSettings,
    build_head,
    head_class,
    settings_for,
)
from avemo.fusion.training.batches import Batcher, Standardisation
from avemo.fusion.training.training import Member

FEATURES = {"visual": 6, "audio": 4}
LENGTHS = {"visual": (5, 9, 0, 2), "audio": (3, 0, 4, 1)}
CLASSES = ("a", "b", "c")
EMBEDDING = tuple(name for name, kind in HEADS.items() if issubclass(kind, EmbeddingHead))


def corpus(chosen: tuple[int, ...] = (0, 1, 2, 3)) -> Corpus:
    """Four clips, one without sound and one without pictures; or some of them."""
    rng = np.random.default_rng(0)
    streams = {}
    for stream, lengths in LENGTHS.items():
        parts = [rng.normal(3, 5, size=(n, FEATURES[stream])).astype(np.float32) for n in lengths]
        times = [np.sort(rng.uniform(0.1, 2.5, n)) for n in lengths]
        sequences = Sequences.of([parts[i] for i in chosen])
        streams[stream] = replace(sequences, times=np.concatenate([times[i] for i in chosen]))
    return Corpus(tuple(Clip(str(i), "val") for i in chosen), streams)


def member(fusion: str, seed: int = 0) -> Member:
    given = {"trunks": TrunkSettings(3, 5, 2)} if "trunks" in head_class(fusion).options else {}
    settings = settings_for(fusion, hidden=5, outputs=7, factors=2, **given)
    torch.manual_seed(seed)
    head = build_head(settings, FEATURES, len(CLASSES)).eval()
    streams = corpus().streams
    standards = {name: Standardisation.of(streams[name], np.arange(4)) for name in head.streams}
    return Member(CLASSES, head, standards)


@pytest.mark.parametrize("fusion", [name for name, kind in HEADS.items() if kind.attends])
def test_weights_are_shares_and_padding_leaves_no_trace(fusion: str) -> None:
    one = member(fusion)
    whole = inspect_members([one], corpus())
    assert set(whole.attention) == set(one.head.streams)
    for stream, clips in whole.attention.items():
        assert [len(clip.weights) for clip in clips] == list(LENGTHS[stream])
        assert all(len(clip.times) == len(clip.weights) for clip in clips)
        sums = [clip.weights.sum() for clip in clips if len(clip.weights)]
        np.testing.assert_allclose(sums, 1, atol=1e-6)
    for place in range(4):
        alone = inspect_members([one], corpus((place,)))
        np.testing.assert_allclose(alone.before[0], whole.before[place], atol=1e-5)
        for stream, clips in whole.attention.items():
            np.testing.assert_allclose(alone.attention[stream][0].weights, clips[place].weights, atol=1e-6)
            np.testing.assert_allclose(alone.attention[stream][0].times, clips[place].times, atol=1e-6)


@pytest.mark.parametrize("fusion", EMBEDDING)
def test_embeddings_give_the_very_logits(fusion: str) -> None:
    one = member(fusion)
    found = inspect_members([one], corpus())
    head = one.head
    assert isinstance(head, EmbeddingHead)
    embedded = found.before if found.after is None else found.after
    with torch.no_grad():
        logits = head.classify(torch.from_numpy(embedded)).double().softmax(dim=1).numpy()
        batch = Batcher(corpus().streams, one.standardisations)(torch.arange(4))
        attended = torch.cat(list(head.attend(batch).values()), dim=1).numpy()
    np.testing.assert_allclose(logits, one.predict(corpus()), atol=1e-6)
    np.testing.assert_allclose(found.before, attended, atol=1e-5)


def test_adaption_factors_are_those_of_a_plain_loop() -> None:
    one = member("ag-fbp")
    found = inspect_members([one], corpus())
    assert found.factors is not None
    head, streams = one.head, corpus().streams
    assert isinstance(head, EmbeddingHead)
    lengths = {}
    for stream, standard in one.standardisations.items():
        start, count = streams[stream].starts[0], streams[stream].lengths[0]
        values = (
            streams[stream].values[start : start + count].astype(np.float64) - standard.mean
        ) * standard.scale
        if stream == "visual":  # conv attention sums what it reduces to
            state = {
                name: tensor.double().numpy()
                for name, tensor in head.attention_over(stream).state_dict().items()
            }
            values = values * state["reduce.weight"].item() + state["reduce.bias"].item()
        total = sum(w * v for w, v in zip(found.attention[stream][0].weights, values, strict=True))
        lengths[stream] = np.sqrt((total**2).sum())
    mu = lengths["audio"] / (lengths["audio"] + lengths["visual"])
    np.testing.assert_allclose(found.factors[0], [mu, 1 - mu], rtol=1e-5)
    assert np.isnan(found.factors[[1, 2]]).all(), "no factor without both streams"
    assert inspect_members([member("fbp")], corpus()).factors is None


def test_members_are_averaged_and_their_embeddings_stand_side_by_side() -> None:
    members = [member("am-fbp", seed) for seed in (0, 1)]
    both, alone = inspect_members(members, corpus()), [inspect_members([one], corpus()) for one in members]
    for clip in range(4):
        mean = np.mean([one.attention["audio"][clip].weights for one in alone], axis=0)
        np.testing.assert_allclose(both.attention["audio"][clip].weights, mean, atol=1e-7)
    np.testing.assert_array_equal(both.before, np.concatenate([one.before for one in alone], axis=1))
    assert both.after is not None and alone[0].after is not None
    assert both.after.shape == (4, 2 * alone[0].after.shape[1])
    assert both.factors is not None
    np.testing.assert_allclose(both.factors[0].sum(), 1, atol=1e-6)


def test_a_concatenation_has_no_other_embedding_and_decisions_none() -> None:
    assert inspect_members([member("concat")], corpus()).after is None
    assert inspect_members([member("decision")], corpus()).after is None
    torch.manual_seed(0)
    head = build_head(HeadSettings(fusion="segments"), FEATURES, 3)
    with pytest.raises(FusionError, match="segments has no attention over all frames"):
        inspect_members([Member(CLASSES, head, member("fbp").standardisations)], corpus())


def test_the_library_function_is_the_heads_own() -> None:
    a, v = torch.tensor([[3.0, 4.0]]), torch.tensor([[0.0, 15.0]])
    assert [float(x) for x in adaption_factors(a, v)] == [0.25, 0.75]


def test_a_plane_keeps_neighbours() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(60, 80)) + np.repeat([0.0, 20.0, -20.0], 20)[:, None]
    points = plane(values)
    assert points.shape == (60, 2)
    np.testing.assert_array_equal(points, plane(values))
    group = np.repeat([0, 1, 2], 20)
    distances = np.linalg.norm(points[:, None] - points[None], axis=2) + np.eye(60) * 1e9
    assert (group[distances.argmin(axis=1)] == group).all()


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (np.zeros((4, 3)), "4 clips are too few for t-SNE; it needs 5"),
        (np.zeros((9, 3)), "all embeddings are the same"),
        (np.full((9, 3), np.nan), "not finite"),
    ],
)
def test_what_has_no_plane(values: np.ndarray, reason: str) -> None:
    with pytest.raises(FusionError, match=reason):
        plane(values)


def test_few_clips_have_a_plane() -> None:
    assert np.isfinite(plane(np.random.default_rng(0).normal(size=(5, 200)))).all()
