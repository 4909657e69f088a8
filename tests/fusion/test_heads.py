"""Whole heads: against their equations as loops, padding, absent streams, names and settings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from avemo.fusion.errors import FusionError
from avemo.fusion.features.corpus import Sequences
from avemo.fusion.heads.attention import ATTENTIONS
from avemo.fusion.heads.dropout import rekey
from avemo.fusion.heads.registry import (
    HEADS,
    EncoderSettings,
    Head,
    HeadSettings,
    TrunkSettings,
    acting,
    build_head,
    check_acting,
    complete,
    described,
    settings_for,
    settings_of_run,
    up_to_date,
)
from avemo.fusion.training.batches import Batcher, Padded, Standardisation

FEATURES = {"visual": 6, "audio": 4}
LENGTHS = {"visual": (5, 9, 0, 2), "audio": (3, 0, 4, 1)}
NAMES = tuple(name for name, kind in HEADS.items() if kind.attends)
FUSED = ("fbp", "g-fbp", "ag-fbp", "m-fbp", "am-fbp", "concat", "decision")
TRUNKS = TrunkSettings(count=3, outputs=5, factors=2)
OLD = {  # a head in a card of avemo 0.1
    "fusion": "fbp", "visual_attention": "self", "audio_attention": "transformer", "dropout": 0.6,
    "hidden": 128, "outputs": 256, "factors": 8, "bias": True,
}  # fmt: skip


def sequences() -> dict[str, Sequences]:
    rng = np.random.default_rng(0)
    made = {}
    for stream, lengths in LENGTHS.items():
        shape = [(n, FEATURES[stream]) for n in lengths]
        parts = [rng.normal(3, 5, size=s).astype(np.float32) if s[0] else None for s in shape]
        times = [np.sort(rng.uniform(0.1, 2.5, n)) for n in lengths]
        made[stream] = replace(Sequences.of(parts), times=np.concatenate(times))
    return made


def batcher() -> Batcher:
    streams = sequences()
    everything = np.arange(4)
    return Batcher(streams, {name: Standardisation.of(streams[name], everything) for name in streams})


def head(name: str, attention: str = "transformer", **settings: object) -> Head:
    torch.manual_seed(0)
    if "trunks" in HEADS[name].options:
        settings = {"trunks": TRUNKS, **settings}
    made = HeadSettings(name, attention, attention, hidden=5, outputs=7, factors=2, **settings)  # type: ignore[arg-type]
    return build_head(made, FEATURES, 3).eval()


def doubled(batch: dict[str, Padded]) -> dict[str, Padded]:
    return {
        name: Padded(stream.values.double(), stream.mask, stream.times.double())
        for name, stream in batch.items()
    }


# The equations of zhou2021 as loops over one clip's frames, in float64.


def weighted(model: Head, stream: str, frames: np.ndarray) -> list[np.ndarray]:
    """e^i of eq. 3-5 and 8-10."""
    attention = model.attention[stream]
    state = {name: value.numpy() for name, value in attention.state_dict().items()}
    if attention.name == "conv":
        frames = frames * state["reduce.weight"].item() + state["reduce.bias"].item()  # k = 1 for few values
        gamma = [state["score.1.weight"][0] @ np.tanh(f) for f in frames]
    else:
        layers = [state[name] for name in ("score.0.weight", "score.0.bias", "score.2.weight")]
        gamma = [layers[2][0] @ np.tanh(layers[0] @ f + layers[1]) for f in frames]
    raised = [np.exp(attention.temperature.item() * g) for g in gamma]
    return [r / sum(raised) * f for r, f in zip(raised, frames, strict=True)]


def pooled(state: dict[str, np.ndarray], audio: np.ndarray, visual: np.ndarray, factors: int) -> np.ndarray:
    """Eq. 14, with biases."""
    products = (state["audio.weight"] @ audio + state["audio.bias"]) * (
        state["visual.weight"] @ visual + state["visual.bias"]
    )
    return np.array([products[i : i + factors].sum() for i in range(0, len(products), factors)])


def part(model: Head, name: str, trunk: int | None = None) -> dict[str, np.ndarray]:
    state = {key: value.numpy() for key, value in getattr(model, name).state_dict().items()}
    return state if trunk is None else {key: value[trunk] for key, value in state.items()}


def total(vectors: Sequence[np.ndarray], width: int) -> np.ndarray:
    return np.sum([np.zeros(width), *vectors], axis=0)


def loop(model: Head, name: str, clip: dict[str, tuple[np.ndarray, np.ndarray]], ag_norm: bool) -> np.ndarray:
    """The vector that is classified, of one clip given as frames and times of each stream."""
    e = {stream: weighted(model, stream, frames) for stream, (frames, _) in clip.items()}
    whole = [total(e["audio"], FEATURES["audio"]), total(e["visual"], FEATURES["visual"])]
    fused = []
    if name in ("g-fbp", "fbp", "ag-fbp", "am-fbp"):
        if name.startswith("a"):
            lengths = [np.sqrt((vector**2).sum()) for vector in whole]
            factors = [length / sum(lengths) for length in lengths]
            whole = [factor * vector for factor, vector in zip(factors, whole, strict=True)]
        z = pooled(part(model, "pool"), *whole, factors=2)
        fused.append(z / np.sqrt((z**2).sum()) if ag_norm or not name.startswith("a") else z)
    if name in ("m-fbp", "am-fbp"):
        every = [time for _, times in clip.values() for time in times]
        bounds = np.linspace(min(every), max(every), TRUNKS.count + 1)
        bounds[-1] += 1
        z = np.zeros(TRUNKS.outputs)
        for h, (low, high) in enumerate(pairwise(bounds)):
            inside = {s: [vector for vector, time in zip(e[s], times, strict=True) if low <= time < high]
                      for s, (_, times) in clip.items()}  # fmt: skip
            if any(inside.values()):
                vectors = [total(inside[s], FEATURES[s]) for s in ("audio", "visual")]
                z += pooled(part(model, "trunk_pool", h), *vectors, factors=TRUNKS.factors)
        fused.append(z / np.sqrt((z**2).sum()))
    return np.concatenate(fused)


@pytest.mark.parametrize("ag_norm", [False, True])
@pytest.mark.parametrize("name", ["fbp", "g-fbp", "ag-fbp", "m-fbp", "am-fbp"])
def test_bilinear_heads_equal_their_equations(name: str, ag_norm: bool) -> None:
    options = {"ag_norm": ag_norm} if "ag_norm" in HEADS[name].options else {}
    models = [
        head(name, lambda_audio=0.25, lambda_visual=2.0, **options),
        head(name, "conv", lambda_audio=0.25, **options),
    ]
    batch = doubled(batcher()(torch.arange(4)))
    for model in models:
        logits = model.double()(batch)
        for i in range(4):
            clip = {
                s: (p.values[i][p.mask[i]].numpy(), p.times[i][p.mask[i]].numpy()) for s, p in batch.items()
            }
            classify = part(model, "classify")
            expected = classify["weight"] @ loop(model, name, clip, ag_norm) + classify["bias"]
            np.testing.assert_allclose(logits[i].detach().numpy(), expected, rtol=0, atol=1e-11)


@pytest.mark.parametrize("weight", [0.0, 0.25, 1.0])
def test_decision_fusion_is_the_weighted_mean_of_both_heads_posteriors(weight: float) -> None:
    model = head("decision", decision_weight=weight).double()
    batch = doubled(batcher()(torch.arange(4)))
    single = {}
    for name, stream in (("audio", "audio"), ("faces", "visual")):
        other = head(name).double()
        for key in other.state_dict():
            source = key.replace("classify.", f"classify.{stream}.")
            other.state_dict()[key].copy_(model.state_dict()[source])
        single[stream] = other(batch).softmax(dim=1)
    mixed = weight * single["audio"] + (1 - weight) * single["visual"]
    if weight < 1:
        mixed[1] = single["visual"][1]  # no sound
    if weight > 0:
        mixed[2] = single["audio"][2]  # no pictures
    torch.testing.assert_close(model(batch).softmax(dim=1), mixed, rtol=0, atol=1e-12)
    torch.testing.assert_close(model(batch).exp().sum(dim=1), torch.ones(4, dtype=torch.float64))


def test_decision_fusion_trains_each_stream_for_itself() -> None:
    model = head("decision", decision_weight=0.9).double()
    batch, targets = doubled(batcher()(torch.arange(4))), torch.tensor([0, 1, 2, 0])
    loss, logits = model.criterion(batch, targets)
    torch.testing.assert_close(logits, model(batch))
    loss.backward()
    other = head("audio").double()
    for key in other.state_dict():
        other.state_dict()[key].copy_(model.state_dict()[key.replace("classify.", "classify.audio.")])
    alone, _ = other.criterion(batch, targets)
    alone.backward()
    gradients = dict(model.named_parameters())
    for name, parameter in other.named_parameters():
        ours = gradients[name.replace("classify.", "classify.audio.")].grad
        torch.testing.assert_close(ours, parameter.grad / 2, rtol=0, atol=1e-12)  # of the mean of two losses


def test_ag_fbp_is_g_fbp_where_a_length_follows_and_there_are_no_biases() -> None:
    batch = doubled(batcher()(torch.arange(4)))
    both = [0, 3]  # clips with both streams
    plain = head("g-fbp", bias=False).double()(batch)[both]
    torch.testing.assert_close(
        head("ag-fbp", bias=False, ag_norm=True).double()(batch)[both], plain, rtol=0, atol=1e-12
    )
    for settings in ({"bias": False, "ag_norm": False}, {"bias": True, "ag_norm": True}):
        adaptive = head("ag-fbp", **settings).double()(batch)[both]
        assert not torch.allclose(
            adaptive, head("g-fbp", bias=settings["bias"]).double()(batch)[both], atol=1e-3
        )


def test_m_fbp_of_one_trunk_is_g_fbp() -> None:
    batch = doubled(batcher()(torch.arange(4)))
    whole = head("g-fbp").double()
    one = head("m-fbp", trunks=TrunkSettings(1, outputs=7, factors=2)).double()
    for name, value in whole.state_dict().items():
        target = one.state_dict()[name.replace("pool.", "trunk_pool.")]
        (target[0] if name.startswith("pool.") else target).copy_(value)
    torch.testing.assert_close(one(batch), whole(batch), rtol=0, atol=1e-12)


def test_m_fbp_with_the_whole_clip_is_g_fbp_beside_its_trunks() -> None:
    """The reading of zhou2021 §IV-D, "both global-trunk and intra-trunk data"."""
    batch = doubled(batcher()(torch.arange(4)))
    both, parts, whole = head("m-fbp", whole=True).double(), head("m-fbp").double(), head("g-fbp").double()
    for model in (parts, whole):
        for name, value in model.state_dict().items():
            if not name.startswith("classify."):
                both.state_dict()[name].copy_(value)
    for name, value in whole.state_dict().items():
        if name.startswith("attention."):
            parts.state_dict()[name].copy_(value)
    expected = torch.cat([whole.embed(batch), parts.embed(batch)], dim=1)
    torch.testing.assert_close(both.embed(batch), expected, rtol=0, atol=1e-12)
    assert both(batch).shape == (4, 3)


def test_dropout_is_where_it_is_said_to_be() -> None:
    batch = batcher()(torch.tensor([0, 3]))

    def differs(name: str, **settings: object) -> bool:
        model = head(name, **settings).train()
        return not torch.equal(model(batch), model.eval()(batch))

    assert not differs("fbp", dropout=0.0)
    assert differs("fbp", dropout=0.9)
    for share in ("attention_dropout", "classifier_dropout"):
        assert differs("fbp", dropout=0.0, **{share: 0.9})
        assert not differs("fbp", dropout=0.0, **{share: 0.0})
    model = head("fbp", dropout=0.9).train()  # transformer attention has none of its own accord
    trained = model.attend(batch)
    for stream, vector in model.eval().attend(batch).items():
        torch.testing.assert_close(trained[stream], vector)
    own = head("fbp", "self", dropout=0.9).train()
    given = head("fbp", "self", dropout=0.9, attention_dropout=0.0).train()
    assert not torch.allclose(own.attend(batch)["visual"], given.attend(batch)["visual"])


@pytest.mark.parametrize("attention", tuple(ATTENTIONS))
def test_the_vectors_of_all_trunks_sum_to_the_whole_clips(attention: str) -> None:
    model, batch = head("am-fbp", attention).double(), doubled(batcher()(torch.arange(4)))
    vectors, present = model.attend_trunks(batch)
    for name, vector in model.attend(batch).items():
        empty = ~batch[name].mask.any(dim=1)
        torch.testing.assert_close(vectors[name].sum(dim=1)[~empty], vector[~empty], rtol=0, atol=1e-12)
        assert not vectors[name][empty].any()
    assert present.any(dim=1).all()


@pytest.mark.parametrize("attention", tuple(ATTENTIONS))
@pytest.mark.parametrize("name", NAMES)
def test_batched_and_padded_equals_one_by_one(name: str, attention: str) -> None:
    batches, model = batcher(), head(name, attention)
    together = model(batches(torch.arange(4)))
    assert together.shape == (4, 3)
    for i in range(4):
        alone = batches(torch.tensor([i]))
        torch.testing.assert_close(together[i : i + 1], model(alone), rtol=0, atol=1e-6)
        cut = {s: Padded(*(part[:, : p.mask.sum()] for part in p)) for s, p in alone.items()}
        torch.testing.assert_close(together[i : i + 1], model(cut), rtol=0, atol=1e-6)


@pytest.mark.parametrize("attention", tuple(ATTENTIONS))
@pytest.mark.parametrize("name", NAMES)
def test_absent_streams_give_finite_logits_and_gradients(name: str, attention: str) -> None:
    model = head(name, attention).train()
    loss, logits = model.criterion(batcher()(torch.arange(4)), torch.tensor([0, 1, 2, 0]))
    loss.backward()
    assert logits.isfinite().all()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("name", FUSED)
def test_a_fused_head_without_sound_still_judges_by_the_pictures(name: str) -> None:
    batch = batcher()(torch.tensor([1, 1]))
    pictures = batch["visual"]
    pictures.values[1] += 1
    assert not batch["audio"].mask.any()
    logits = head(name)({**batch, "visual": pictures})
    assert not torch.allclose(logits[0], logits[1])


@pytest.mark.parametrize("name", NAMES)
def test_gradients(name: str) -> None:
    model = head(name, "conv" if name.endswith("-fbp") else "transformer", lambda_audio=0.25).double()
    batch = doubled(batcher()(torch.arange(4)))
    streams = [batch[stream].values.requires_grad_() for stream in model.streams]

    def logits(*values: Tensor) -> Tensor:
        given = {s: batch[s]._replace(values=v) for s, v in zip(model.streams, values, strict=True)}
        return model(given)

    assert torch.autograd.gradcheck(logits, streams)


@pytest.mark.parametrize("name", FUSED)
def test_members_of_any_temperature_can_be_stacked(name: str) -> None:
    members = [head(name, "conv", lambda_audio=value, lambda_visual=value) for value in (0.25, 1.0)]
    for parameter in members[1].parameters():
        parameter.data.add_(0.1)
    parameters, buffers = torch.func.stack_module_state(members)
    batch = batcher()(torch.arange(4))

    def one(parameters: dict[str, Tensor], buffers: dict[str, Tensor]) -> Tensor:
        return torch.func.functional_call(members[0], (parameters, buffers), (batch,))

    stacked = torch.vmap(one)(parameters, buffers)
    for member, logits in zip(members, stacked, strict=True):
        torch.testing.assert_close(logits, member(batch), rtol=1e-5, atol=1e-6)


def test_heads_of_one_stream_read_only_that() -> None:
    batch = batcher()(torch.arange(4))
    for name, stream in (("audio", "audio"), ("faces", "visual")):
        model = head(name)
        torch.testing.assert_close(model({stream: batch[stream]}), model(batch))


@pytest.mark.parametrize("name", ["audio", "concat", "g-fbp", "am-fbp", "decision"])
def test_heads_with_an_encoder(name: str) -> None:
    torch.manual_seed(0)
    lengths = (70, 100, 0)
    parts = [torch.randn(n, 40).numpy() if n else None for n in lengths]
    sound = Sequences.of(parts)
    faces = Sequences.of([torch.randn(n, 6).numpy() for n in (3, 4, 2)])
    streams = {"visual": faces, "audio": sound}
    everything = {s: Standardisation.of(streams[s], np.arange(3)) for s in streams}
    batches = Batcher(streams, everything)
    settings = settings_for(name, hidden=5, audio_encoder=EncoderSettings("1d-abfcn"))
    model = build_head(settings, {"visual": 6, "audio": 40}, 3).eval()
    assert model.sizes["audio"] == 256
    together = model(batches(torch.arange(3)))
    for i in range(3):
        alone = model(batches(torch.tensor([i])))
        torch.testing.assert_close(together[i : i + 1], alone, rtol=1e-5, atol=1e-6)
    loss, _ = model.criterion(batches(torch.arange(3)), torch.tensor([0, 1, 2]))
    loss.backward()
    first = model.encoders["audio"].features["0"].weight.grad
    assert first is not None and first.abs().sum() > 0


def test_an_encoder_starts_from_weights_and_only_where_there_is_one() -> None:
    settings = settings_for("audio", audio_encoder=EncoderSettings("1d-abfcn"))
    state = {
        name: torch.full_like(value, 0.5)
        for name, value in build_head(settings, {"audio": 200}, 3).encoders["audio"].state_dict().items()
    }
    model = build_head(settings, {"audio": 200}, 3, {"audio": state})
    assert all((value == 0.5).all() for value in model.encoders["audio"].state_dict().values())
    build_head(settings_for("audio"), {"audio": 200}, 3, {"audio": state})


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
    np.testing.assert_allclose(batch.times[batch.mask], streams["visual"].times[:14], rtol=1e-6)


def test_a_head_is_as_in_its_paper_where_nothing_is_given() -> None:
    plain, paper = settings_for("fbp"), settings_for("am-fbp")
    assert (plain.visual_attention, plain.lambda_audio) == ("transformer", 1.0)
    assert (paper.visual_attention, paper.audio_attention) == ("conv", "transformer")
    assert (paper.lambda_visual, paper.lambda_audio) == (1.0, 0.3)
    full = complete(paper)
    assert (full.outputs, full.factors) == (128, 4)
    assert full.trunks == TrunkSettings(count=6, outputs=192, factors=2) and full.ag_norm is False
    assert complete(settings_for("decision")).decision_weight == 0.5
    other = settings_for("am-fbp", audio_attention="self", trunks=TrunkSettings(19))
    assert (other.lambda_audio, other.trunks.count) == (1.0, 19)


def test_what_a_head_does_not_read_is_refused() -> None:
    with pytest.raises(FusionError, match="the fusion fbp has no trunks; m-fbp and am-fbp have"):
        settings_for("fbp", trunks=TrunkSettings())
    with pytest.raises(FusionError, match="the fusion m-fbp has no ag norm; ag-fbp and am-fbp have"):
        settings_for("m-fbp", ag_norm=True)
    with pytest.raises(FusionError, match="concat has no decision weight; decision has"):
        build_head(HeadSettings("concat", decision_weight=0.3), FEATURES, 3)
    with pytest.raises(FusionError, match="self attention has no λ"):
        build_head(settings_for("fbp", audio_attention="self", lambda_audio=0.3), FEATURES, 3)


OTHER = {  # another value of each setting
    "visual_attention": "relation", "audio_attention": "relation", "dropout": 0.7, "hidden": 6, "outputs": 8,
    "factors": 3, "bias": False, "lambda_visual": 0.5, "lambda_audio": 0.5, "signed_sqrt": True,
    "visual_encoder": EncoderSettings("1d-abfcn"), "audio_encoder": EncoderSettings("1d-abfcn"),
    "trunks": TrunkSettings(2, outputs=5, factors=2), "ag_norm": True, "decision_weight": 0.75,
    "attention_dropout": 0.5, "classifier_dropout": 0.5, "whole": True,
}  # fmt: skip


@pytest.mark.parametrize("attention", tuple(ATTENTIONS))
@pytest.mark.parametrize("name", NAMES)
def test_a_head_says_which_settings_act_in_it(name: str, attention: str) -> None:
    """A setting that is said to act changes loss or logits in training, or cannot be; any other nothing."""
    batch, targets = batcher()(torch.arange(4)), torch.tensor([0, 1, 2, 0])

    def said_of(settings: HeadSettings) -> list[float] | None:
        torch.manual_seed(0)
        try:
            model = build_head(settings, FEATURES, 3).train()
        except FusionError:
            return None
        rekey(model, 0, 0)
        with torch.no_grad():
            loss, logits = model.criterion(batch, targets)
        return [loss.item(), *logits.flatten().tolist()]

    given = {"trunks": TRUNKS} if "trunks" in HEADS[name].options else {}
    plain = HeadSettings(name, attention, attention, hidden=5, outputs=7, factors=2, **given)  # type: ignore[arg-type]
    before, said = said_of(plain), acting(plain) - {"fusion"}
    changed = {n: said_of(replace(plain, **{n: value})) for n, value in OTHER.items()}  # type: ignore[arg-type]
    assert before is not None
    unlike = {n for n, value in changed.items() if value != before}
    if attention == "relation":
        unlike |= {f"{stream}_attention" for stream in HEADS[name].streams}
    refused = {n for n in OTHER if changed[n] is None} - said
    assert unlike - refused == said - {"segments"}


def test_a_setting_that_does_nothing_is_refused_with_the_reason() -> None:
    for settings, name, reason in (
        (HeadSettings("concat"), "factors", "the fusion concat has no factors; fbp, g-fbp, ag-fbp and am-"),
        (HeadSettings("m-fbp"), "outputs", "the fusion m-fbp does not pool the whole clip; set trunk"),
        (HeadSettings("audio"), "visual_attention", "the fusion audio reads no pictures"),
        (HeadSettings("fbp", "self", "conv"), "hidden", "self and conv attention has no hidden; transformer"),
        (HeadSettings("fbp", "self"), "lambda_visual", "self attention has no λ; transformer and conv have"),
        (HeadSettings("segments"), "factors", "the fusion segments has no factors"),
        (HeadSettings("segments"), "lambda_audio", "the fusion segments has no lambda audio"),
    ):
        with pytest.raises(FusionError, match=reason):
            check_acting(settings, [name])
    check_acting(HeadSettings("segments"), ["hidden", "dropout", "segments"])


def test_settings_come_back_from_a_card() -> None:
    for name in NAMES:
        settings = settings_for(name, audio_encoder=EncoderSettings("2d-abfcn", lrn=False, weights="ab"))
        values = described(settings)
        assert values["version"] == HEADS[name].version
        assert ("trunks" in values) == name.startswith(("m-", "am-"))
        assert settings_of_run(values, Path("run")) == complete(settings)
    assert "audio_encoder" not in described(settings_for("am-fbp"))


def test_runs_of_before_still_load_and_go_on() -> None:
    settings = settings_of_run(OLD, Path("run"))
    assert settings == HeadSettings("fbp", "self", dropout=0.6, outputs=256, factors=8)
    assert up_to_date(OLD) == described(settings)
    assert up_to_date({"fusion": "fbp", "colour": "red"}) == {"fusion": "fbp", "colour": "red"}
    with pytest.raises(TypeError, match="colour"):
        settings_of_run({**OLD, "colour": "red"}, Path("run"))


def test_a_run_of_another_meaning_of_its_head_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(HEADS["fbp"], "version", 2)
    with pytest.raises(
        FusionError, match=r"runs/a was trained with version 1 of the head fbp, and .* version 2"
    ):
        settings_of_run(OLD, Path("runs/a"))
    assert up_to_date(OLD)["version"] == 1 and described(HeadSettings())["version"] == 2


def test_settings_can_be_keys() -> None:
    settings = settings_for("am-fbp", audio_encoder=EncoderSettings("1d-abfcn"), trunks=TrunkSettings(4))
    assert len({settings, replace(settings), replace(settings, dropout=0.5)}) == 2


def test_unknown_names() -> None:
    with pytest.raises(FusionError, match=r"no fusion 'sum'; there are fbp, .*concat, audio, faces"):
        build_head(HeadSettings("sum"), FEATURES, 3)
    with pytest.raises(FusionError, match="no attention 'x'"):
        build_head(HeadSettings(visual_attention="x"), FEATURES, 3)
