"""Members trained as one are what each is alone; dropout that follows from places; grids of settings."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from avemo.cache.clips import Clip
from avemo.fusion.errors import FusionError
from avemo.fusion.features.corpus import Corpus, Sequences
from avemo.fusion.heads.dropout import Dropout, keys, places, rekey
from avemo.fusion.heads.registry import HEADS, EncoderSettings, HeadSettings, TrunkSettings, settings_for
from avemo.fusion.training.folds import Fold, inside, k_fold
from avemo.fusion.training.grid import Grid
from avemo.fusion.training.selection import Rule, choose, epochs_to_choose
from avemo.fusion.training.stack import StackedAdamW, member_bytes, stackable, train_stack
from avemo.fusion.training.training import Fit, Setup, Trained, TrainingSettings, train

CLASSES = ("Angry", "Happy", "Sad")
NOBODY = np.array([], dtype=np.int64)


def corpus(clips: int = 30) -> Corpus:
    """Clips of 0 to 8 vectors a stream."""
    rng = np.random.default_rng(0)
    sizes = {"visual": 6, "audio": 4}
    streams = {
        name: Sequences.of(
            [rng.normal(size=(int(n), size)).astype(np.float32) for n in rng.integers(0, 9, clips)]
        )
        for name, size in sizes.items()
    }
    return Corpus(tuple(Clip(str(i), "train", label=CLASSES[i % 3]) for i in range(clips)), streams)


def setup_of(epochs: int = 3, batch: int = 64) -> Setup:
    return Setup(CLASSES, HeadSettings(hidden=8, outputs=8, factors=2), TrainingSettings(epochs, batch))


def fit_of(seed: int = 0) -> Fit:
    return Fit(seed, np.arange(20), np.arange(20, 30))


def silent(done: int) -> None:
    pass


def alone_and_together(data: Corpus, tasks: list[tuple[Setup, Fit]], at_once: int) -> list[list[Trained]]:
    alone = [train(data, *task, silent) for task in tasks]
    together: list[Trained | None] = [None] * len(tasks)
    for place, trained in train_stack(data, tasks, silent, at_once):
        together[place] = trained
    assert all(together)
    return [alone, [trained for trained in together if trained]]


def assert_alike(alone: list[Trained], together: list[Trained], tolerance: float) -> None:
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_allclose(one.probabilities, other.probabilities, atol=tolerance)
        for epoch, stacked in zip(one.history, other.history, strict=True):
            np.testing.assert_allclose(
                np.array(list(vars(epoch).values()), float),
                np.array(list(vars(stacked).values()), float),
                atol=10 * tolerance,
            )
        for name, tensor in one.member.head.state_dict().items():
            torch.testing.assert_close(
                tensor, other.member.head.state_dict()[name], atol=tolerance, rtol=1e-3
            )


@pytest.mark.parametrize("attention", ("self", "relation", "transformer", "conv"))
@pytest.mark.parametrize("fusion", [name for name, kind in HEADS.items() if kind.stackable])
def test_stacked_members_are_what_each_is_alone(fusion: str, attention: str) -> None:
    data = corpus()
    tempered = attention in ("transformer", "conv")
    tasks = []
    for seed in range(5):
        head = settings_for(
            fusion,
            visual_attention=attention,
            audio_attention=attention,
            hidden=8,
            outputs=8,
            factors=2,
            dropout=0.1 * seed,
            **({"lambda_visual": 0.25 * seed, "lambda_audio": 1.0} if tempered else {}),
        )
        training = TrainingSettings(4, 8, 10.0 ** -(2 + seed % 2), 0.1 * seed)
        tasks.append((replace(setup_of(), head=head, training=training), fit_of(seed)))
    assert stackable(data, tasks) == [[*range(5)]]
    assert_alike(*alone_and_together(data, tasks, at_once=3), tolerance=2e-5)


@pytest.mark.parametrize("fusion", ("fbp", "m-fbp"))
def test_stacked_members_drop_and_halve_as_each_does_alone(fusion: str) -> None:
    data = corpus()
    more = {"whole": True} if fusion == "m-fbp" else {}
    head = settings_for(
        fusion, hidden=8, outputs=8, factors=2, attention_dropout=0.4, classifier_dropout=0.3, **more
    )
    training = [TrainingSettings(4, 8, 1e-2, 0.2 * seed, halve_after=2) for seed in range(3)]
    tasks = [(replace(setup_of(), head=head, training=each), fit_of(i)) for i, each in enumerate(training)]
    assert stackable(data, tasks) == [[0, 1, 2]]
    assert_alike(*alone_and_together(data, tasks, at_once=3), tolerance=2e-5)
    never = (replace(setup_of(), head=head, training=replace(training[0], halve_after=None)), fit_of())
    assert len(stackable(data, [tasks[0], never])) == 2


@pytest.mark.parametrize("encoder", ("1d-abfcn", "2d-abfcn"))
def test_stacked_encoders_are_what_each_is_alone(encoder: str) -> None:
    rng = np.random.default_rng(0)
    sound = [rng.normal(size=(int(n), 70)).astype(np.float32) for n in rng.integers(0, 140, 8)]
    faces = [rng.normal(size=(3, 5)).astype(np.float32) for _ in sound]
    clips = tuple(Clip(str(i), "train", label=("Angry", "Happy", "Sad")[i % 3]) for i in range(8))
    data = Corpus(clips, {"visual": Sequences.of(faces), "audio": Sequences.of(sound)})
    head = settings_for("g-fbp", outputs=8, audio_encoder=EncoderSettings(encoder, 1, encoder == "1d-abfcn"))
    whole = replace(setup_of(2, batch=4), head=head)
    tasks = [(whole, Fit(seed, np.arange(8), NOBODY)) for seed in range(2)]
    assert_alike(*alone_and_together(data, tasks, at_once=2), tolerance=1e-4)


def test_what_differs_in_more_is_not_stacked() -> None:
    data = corpus()
    wide = replace(setup_of(), head=replace(setup_of().head, outputs=16))
    longer, some = setup_of(4), Fit(0, np.arange(5), NOBODY)
    tasks = [
        (setup_of(), fit_of()),
        (wide, fit_of()),
        (setup_of(), some),
        (longer, fit_of()),
        (setup_of(), fit_of(1)),
    ]
    groups = stackable(data, tasks)
    assert sorted(groups) == [[0, 4], [1], [2], [3]]


def test_stacked_adamw_is_torch_s() -> None:
    rates, decays = [0.1, 0.01, 0.5], [0.0, 0.3, 0.1]
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(3, 4, 2, generator=generator, dtype=torch.float64)
    ours = [start.clone()]
    stacked = StackedAdamW(ours, rates, decays)
    theirs = [start[i].clone().requires_grad_() for i in range(3)]
    optimisers = [
        torch.optim.AdamW([p], lr, weight_decay=decay)
        for p, lr, decay in zip(theirs, rates, decays, strict=True)
    ]
    for _ in range(20):
        gradients = torch.randn(3, 4, 2, generator=generator, dtype=torch.float64)
        stacked.step([gradients])
        for parameter, gradient, optimiser in zip(theirs, gradients, optimisers, strict=True):
            parameter.grad = gradient
            optimiser.step()
    torch.testing.assert_close(ours[0], torch.stack(theirs).detach(), atol=1e-12, rtol=1e-12)


def test_dropout_drops_its_share_and_keeps_the_mean() -> None:
    dropout, x = Dropout(0.3), torch.ones(500, 400)
    rekey(dropout, seed=1, step=2)
    y = dropout(x)
    kept = y != 0
    assert abs(float(kept.float().mean()) - 0.7) < 0.005
    torch.testing.assert_close(y[kept], torch.full_like(y[kept], 1 / 0.7))
    # no row, column or neighbour tells of another: within five standard errors
    noise = kept.double() - 0.7
    for other in (noise.roll(1, 0), noise.roll(1, 1), noise.roll(2, 1)):
        assert abs(float((noise * other).mean())) < 5 * 0.21 / noise.numel() ** 0.5
    assert float(noise.mean(0).abs().max()) < 5 * (0.21 / 500) ** 0.5
    assert torch.equal(dropout.eval()(x), x)


def test_dropout_follows_from_seed_step_site_and_place_alone() -> None:
    assert len({*torch.cat([keys(seed, step, 3) for seed in range(4) for step in range(5)]).tolist()}) == 60
    two = nn.ModuleList([Dropout(0.5), Dropout(0.5)])
    x = torch.ones(6, 5, 40)
    rekey(two, 7, 0)
    first, second = two[0](x), two[1](x)
    assert not torch.equal(first, second)
    torch.testing.assert_close(two[0](x[:, :3]), first[:, :3])  # padding does not matter
    mask = torch.rand(6, 5) > 0.5
    torch.testing.assert_close(two[0](x[mask], places(x)[mask]), first[mask])  # nor does packing
    rekey(two, 7, 1)
    assert not torch.equal(two[0](x), first)
    rekey(two, 7, 0)
    assert torch.equal(two[0](x), first)


def test_halving_finds_what_is_best_with_less_work() -> None:
    data = corpus()
    rng = np.random.default_rng(1)
    means = rng.normal(size=(3, 6))  # so that there is something to learn
    faces = [np.tile(means[i % 3], (3, 1)).astype(np.float32) for i in range(30)]
    data = replace(data, streams={**data.streams, "visual": Sequences.of(faces)})
    rates = (1e-9, 1e-8, 1e-7, 1e-6, 3e-2, 1e-10, 1e-5)
    candidates = Grid({"learning_rate": rates}).setups(setup_of(27, batch=8))
    inner = inside(Fold("fit", np.arange(30), NOBODY), k_fold([c.label or "" for c in data.clips], 3, 0))
    told: list[int] = []
    for halving in (False, True):
        rule = Rule("uar", halving=halving)
        choice = choose(data, candidates, inner, rule, seed=0, progress=told.append)
        assert (choice.candidate, choice.epochs) == (4, 27)
        assert told[-1] == epochs_to_choose(candidates, inner, rule)
    assert told[-1] == 3 * (7 * 9 + 3 * 27)


def test_a_grid_is_all_combinations() -> None:
    grid = Grid({"lambda_audio": (0, 0.5), "epochs": (1, 2, 3)})
    setups = grid.setups(setup_of())
    assert len({*setups}) == 6
    assert [(p.head.lambda_audio, p.training.epochs) for p in setups[:4]] == [
        (0, 1),
        (0, 2),
        (0, 3),
        (0.5, 1),
    ]
    assert Grid({}).setups(setup_of()) == [setup_of()]


def test_a_grid_of_trunks_sets_theirs() -> None:
    grid = Grid({"trunk_factors": (1, 2), "trunks": (3,)})
    whole = replace(setup_of(), head=settings_for("m-fbp", trunks=TrunkSettings(outputs=5)))
    grid.check(whole.head)
    assert [p.head.trunks for p in grid.setups(whole)] == [TrunkSettings(3, 5, 1), TrunkSettings(3, 5, 2)]
    assert grid.setups(setup_of())[1].head.trunks == TrunkSettings(3, factors=2)


def test_a_grid_of_what_does_nothing_is_refused() -> None:
    for fusion, axes, why in (
        (
            "concat",
            {"factors": (2, 4)},
            "factors in the grid has no effect: the fusion concat has no factors; fbp",
        ),
        ("m-fbp", {"factors": (2, 4)}, "set trunk_factors"),
        ("fbp", {"trunk_factors": (2, 4)}, "the fusion fbp has no trunks; m-fbp and am-fbp have"),
        ("g-fbp", {"decision_weight": (0, 1)}, "no decision weight"),
        ("audio", {"lambda_visual": (0, 1)}, "reads no pictures"),
    ):
        with pytest.raises(FusionError, match=why):
            Grid(axes).check(settings_for(fusion))  # type: ignore[arg-type]
    Grid({"factors": (2, 4)}).check(settings_for("m-fbp", whole=True))
    Grid({"learning_rate": (0.1,), "dropout": (0.1,), "epochs": (3,)}).check(settings_for("audio"))


@pytest.mark.parametrize(
    ("axes", "what"),
    [
        ({"depth": (1,)}, "'depth'"),
        ({"dropout": (1.0,)}, "cannot be 1"),
        ({"epochs": (1.5,)}, "cannot be 1.5"),
        ({"learning_rate": (-1,)}, "cannot be -1"),
        ({"batch": (8, 8)}, "twice"),
    ],
)
def test_a_grid_of_what_cannot_be(axes: dict[str, tuple[float, ...]], what: str) -> None:
    with pytest.raises(FusionError, match=what):
        Grid(axes)


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("lambda_audio=0:1:0.1", {"lambda_audio": [i / 10 for i in range(11)]}),
        (" lr = 1e-4 | 3e-4, dropout=0:0.6:0.3", {"learning_rate": [1e-4, 3e-4], "dropout": [0, 0.3, 0.6]}),
        ("epochs=2:5, lambda-visual=1", {"epochs": [2, 3, 4, 5], "lambda_visual": [1]}),
        ("", {}),
    ],
)
def test_the_text_of_a_grid(text: str, values: dict[str, list[float]]) -> None:
    grid, seeds = Grid.parse(text, 7, 2)
    assert grid.axes == values and seeds == (7, 2)
    assert Grid.parse(f"{text}, seed=3:5", 7, 2)[1] == (3, 3)


@pytest.mark.parametrize(
    "text",
    ("lr", "lr=", "lr=a", "lr=1|2:3", "lr=1:2:0", "lr=2:1", "lr=1,lr=2", "lr=nan", "seed=0|2", "lr=0:1:1e-9"),
)
def test_text_that_is_no_grid(text: str) -> None:
    with pytest.raises(FusionError, match="--grid"):
        Grid.parse(text, 0, 1)


def heard_and_seen() -> Corpus:
    rng = np.random.default_rng(0)
    sound = [rng.normal(size=(int(n), 70)).astype(np.float32) for n in rng.integers(0, 140, 8)]
    faces = [rng.normal(size=(3, 5)).astype(np.float32) for _ in sound]
    clips = tuple(Clip(str(i), "train", label=CLASSES[i % 3]) for i in range(8))
    return Corpus(clips, {"visual": Sequences.of(faces), "audio": Sequences.of(sound)})


@pytest.mark.parametrize("encoder", [None, EncoderSettings("1d-abfcn", 1, True), EncoderSettings("2d-abfcn")])
def test_a_member_is_counted_with_its_encoders(encoder: EncoderSettings | None) -> None:
    """What one is counted as, is its share of what a stack of three really keeps for its gradients."""
    head = settings_for("g-fbp", outputs=8, audio_encoder=encoder)
    tasks = [(replace(setup_of(1), head=head), Fit(seed, np.arange(8), NOBODY)) for seed in range(3)]
    data, kept = heard_and_seen(), dict[int, int]()

    def count(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
        results = list(train_stack(data, tasks, silent, at_once=3))
    parameters = sum(p.numel() for p in results[0][1].member.head.parameters())
    share = sum(kept.values()) / 3 + 4 * 4 * parameters
    assert 0.7 < member_bytes(data, tasks[0]) / share < 1.5
