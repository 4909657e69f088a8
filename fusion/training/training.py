"""Trains one member. On a CPU, the same seed always gives bit-identical results.

On a GPU, results may differ from run to run, as some kernels sum in no fixed order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from ..errors import FusionError
from ..evaluation.metrics import accuracy, unweighted_average_recall
from ..features.corpus import Corpus
from ..heads.dropout import rekey
from ..heads.registry import Head, HeadSettings, build_head, head_class
from .batches import Batcher, Standardisation
from .settings import TrainingSettings

PREDICT_BATCH = 64


@dataclass(frozen=True)
class Setup:
    """The settings that all members of a run share.

    Attributes:
        classes: names of the classes.
        head: settings of the head.
        training: settings of the training.
        device: a torch device or ``auto``.
        weights: stream → pretrained tensors of its encoder; ``head`` identifies them by their file's SHA-256.
    """

    classes: tuple[str, ...]
    head: HeadSettings = field(default_factory=HeadSettings)
    training: TrainingSettings = field(default_factory=TrainingSettings)
    device: str = "cpu"
    weights: Mapping[str, Mapping[str, Tensor]] = field(default_factory=dict, compare=False, repr=False)


@dataclass(frozen=True, eq=False)
class Fit:
    """One member to train: its seed, and the indices of its training and validation clips."""

    seed: int
    fitted: np.ndarray
    watched: np.ndarray


Task = tuple[Setup, Fit]


@dataclass(frozen=True)
class Epoch:
    """One line of a history.

    Training loss and accuracy are means over the epoch, with dropout. Loss, accuracy and unweighted average
    recall on the watched clips are measured after the epoch; None if there are none.
    """

    epoch: int
    train_loss: float
    train_accuracy: float
    val_loss: float | None = None
    val_accuracy: float | None = None
    val_uar: float | None = None


@dataclass(frozen=True, eq=False)
class Member:
    """A trained head with the standardisation fitted on its training clips."""

    classes: tuple[str, ...]
    head: Head
    standardisations: Mapping[str, Standardisation]

    def predict(self, corpus: Corpus, device: str = "cpu") -> np.ndarray:
        """Return probabilities ``[N, C]``, float64, of all clips of ``corpus``."""
        device = resolve_device(device)
        batcher = Batcher(corpus.streams, self.standardisations, device, corpus.segments)
        with one_thread():
            return _probabilities(self.head.to(device), batcher, torch.arange(len(corpus.clips)))


@dataclass(frozen=True, eq=False)
class Trained:
    """The result of a fit: the member, its history, and its probabilities ``[N, C]`` of all clips."""

    member: Member
    history: tuple[Epoch, ...]
    probabilities: np.ndarray


def train(corpus: Corpus, setup: Setup, fit: Fit, on_epoch: Callable[[int], None]) -> Trained:
    """Train one member.

    Args:
        corpus: the clips; fitted and watched clips have a class in ``setup.classes``.
        setup: the settings.
        fit: seed and clips.
        on_epoch: called after each epoch with the number of epochs done.
    """
    device = resolve_device(setup.device)
    streams = head_class(setup.head.fusion).streams
    standardisations = {name: Standardisation.of(corpus.streams[name], fit.fitted) for name in streams}
    batcher = Batcher(corpus.streams, standardisations, device, corpus.segments)
    targets = torch.from_numpy(corpus.targets(setup.classes)).to(device)
    fitted, watched = (torch.from_numpy(clips).to(device) for clips in (fit.fitted, fit.watched))
    history = []
    step = 0
    with one_thread():
        head, order = begin(corpus, setup, fit.seed)
        head.to(device)
        settings = setup.training
        optimiser = torch.optim.AdamW(
            head.parameters(), settings.learning_rate, weight_decay=settings.weight_decay, fused=True
        )
        for number in range(1, settings.epochs + 1):
            if number - 1 == settings.halve_after:
                for group in optimiser.param_groups:
                    group["lr"] /= 2
            shuffled = fitted[torch.randperm(len(fitted), generator=order).to(device)]
            batches = torch.split(shuffled, settings.batch)
            figures = _fit_epoch(head, batcher, targets, batches, optimiser, fit.seed, step)
            step += len(batches)
            history.append(Epoch(number, *figures, *_watch(head, batcher, targets, watched, setup.classes)))
            on_epoch(number)
        everything = torch.arange(len(corpus.clips), device=device)
        probabilities = _probabilities(head, batcher, everything)
    member = Member(setup.classes, head.to("cpu"), standardisations)
    return Trained(member, tuple(history), probabilities)


def begin(corpus: Corpus, setup: Setup, seed: int) -> tuple[Head, torch.Generator]:
    """Return a member's initial head, on the CPU, and the generator for its orders of clips.

    The caller's random state is left unchanged.
    """
    features = {name: corpus.streams[name].features for name in head_class(setup.head.fusion).streams}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        head = build_head(setup.head, features, len(setup.classes), setup.weights)
    return head, torch.Generator().manual_seed(seed)


def resolve_device(name: str) -> str:
    """Resolve ``auto`` to ``cuda`` if available, else ``cpu``; return other names unchanged.

    Raises:
        FusionError: the device is not available.
    """
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        raise FusionError(f"there is no device {name!r} here ({error}); use auto or cpu") from error
    return name


def _fit_epoch(
    head: Head,
    batcher: Batcher,
    targets: Tensor,
    batches: tuple[Tensor, ...],
    optimiser: torch.optim.Optimizer,
    seed: int,
    step: int,
) -> tuple[float, float]:
    head.train()
    loss_sum = torch.zeros((), device=targets.device)
    right = torch.zeros((), device=targets.device)
    for number, clips in enumerate(batches):
        rekey(head, seed, step + number)
        loss, logits = head.criterion(batcher(clips), targets[clips])
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        optimiser.step()
        loss_sum += loss.detach() * len(clips)
        right += (logits.argmax(dim=1) == targets[clips]).sum()
    count = sum(map(len, batches))
    return float(loss_sum) / count, float(right) / count


def _watch(
    head: Head, batcher: Batcher, targets: Tensor, clips: Tensor, classes: tuple[str, ...]
) -> tuple[float, ...]:
    if not len(clips):
        return ()
    return judged(_probabilities(head, batcher, clips), targets[clips].cpu().numpy(), classes)


def judged(probabilities: np.ndarray, truth: np.ndarray, classes: tuple[str, ...]) -> tuple[float, ...]:
    """Return loss, accuracy and unweighted average recall of ``[N, C]`` for targets ``[N]``."""
    loss = -np.log(probabilities[np.arange(len(truth)), truth].clip(1e-30)).mean()
    names = [[classes[i] for i in indices] for indices in (truth, probabilities.argmax(axis=1))]
    return float(loss), accuracy(*names), unweighted_average_recall(*names)


@torch.no_grad()
def _probabilities(head: Head, batcher: Batcher, clips: Tensor) -> np.ndarray:
    head.eval()
    logits = [head(batcher(part)) for part in torch.split(clips, PREDICT_BATCH)]
    return np.asarray(torch.cat(logits).double().softmax(dim=1).cpu())


@contextmanager
def one_thread() -> Iterator[None]:
    """Run the block in one thread, so that sums have the same order on any number of cores."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
