"""Trains many members as one model of stacked heads.

If a single head is limited by kernel launches and not by arithmetic, as on a GPU, a stack of members takes
little longer than one. Each member has its own initialisation, order of clips, dropout, learning rate, weight
decay and optimiser state. It ends up the same as if trained alone, except for rounding in sums that are
computed in another order.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

from ..features.corpus import Corpus
from ..heads.attention import Attention
from ..heads.dropout import dropouts, keys, rekey
from ..heads.registry import Head
from .batches import Batch, Batcher, Standardisation
from .training import (
    PREDICT_BATCH,
    Epoch,
    Member,
    Setup,
    Task,
    Trained,
    begin,
    judged,
    one_thread,
    resolve_device,
)

MEMORY = 2.0  # GB per stack on a CPU
SHARE = 0.5  # share of a GPU's free memory per stack


def stackable(corpus: Corpus, tasks: Sequence[Task]) -> list[list[int]]:
    """Group tasks (indices) that can be trained as one model.

    Tasks of a group have the same training and validation clips, number of epochs, batch size and
    ``halve_after``, and heads of the same kind with tensors of the same shapes. Learning rate, weight decay,
    λ, dropout and the weight of decision fusion may differ.
    """
    groups: dict[object, list[int]] = {}
    shapes: dict[Setup, object] = {}
    for place, (setup, fit) in enumerate(tasks):
        if setup not in shapes:
            shapes[setup] = _shape(setup, begin(corpus, setup, fit.seed)[0])
        group = (shapes[setup], fit.fitted.tobytes(), fit.watched.tobytes())
        groups.setdefault(group, []).append(place)
    return list(groups.values())


def train_stack(
    corpus: Corpus, tasks: Sequence[Task], on_epoch: Callable[[int], None], at_once: int | None = None
) -> Iterator[tuple[int, Trained]]:
    """Train the tasks of one group of :func:`stackable`, yielding the index of each and its result.

    Args:
        corpus: the clips.
        tasks: tasks of one group.
        on_epoch: called after each epoch with the total number of epochs done by all members.
        at_once: members per stack; None for :func:`members_at_once`.
    """
    size = at_once or members_at_once(corpus, tasks[0])
    for first in range(0, len(tasks), size):
        chunk = tasks[first : first + size]
        done = first * tasks[0][0].training.epochs
        results = _Stack(corpus, chunk).train(partial(_count, on_epoch, done, len(chunk)))
        yield from enumerate(results, first)


def members_at_once(corpus: Corpus, task: Task) -> int:
    """Return the maximum number of members per stack.

    Parameters, batches and the values saved for gradients take about :data:`MEMORY`, or on a GPU
    :data:`SHARE` of its free memory.
    """
    setup, _ = task
    device = resolve_device(setup.device)
    free = torch.cuda.mem_get_info(device)[0] * SHARE if device.startswith("cuda") else MEMORY * 1e9
    return max(1, int(free // member_bytes(corpus, task)))


def member_bytes(corpus: Corpus, task: Task) -> int:
    """Return the bytes needed for one member of a stack, counted in a forward pass over the longest clips.

    The memory that an encoder saves for its gradients cannot be derived from its settings.
    """
    setup, fit = task
    head, _ = begin(corpus, setup, fit.seed)
    head.train()
    _pad(head)
    rekey(head, fit.seed, 0)
    streams = [corpus.streams[name] for name in head.streams]
    longest = np.argsort(-sum(stream.lengths[fit.fitted] for stream in streams))[: setup.training.batch]
    clips = torch.from_numpy(fit.fitted[longest])
    standardisations = {name: Standardisation.of(corpus.streams[name], fit.fitted) for name in head.streams}
    batch = Batcher(corpus.streams, standardisations)(clips)
    kept: dict[int, int] = {}

    def count(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with one_thread(), torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
        graph = head.criterion(batch, torch.from_numpy(corpus.targets(setup.classes))[clips])
    del graph  # kept until here, so that no counted address is freed and used again
    # Each parameter also has a gradient and two moments.
    return sum(kept.values()) + 4 * sum(p.numel() * p.element_size() for p in head.parameters())


def _pad(model: nn.Module) -> None:
    """Make attention compute padding as well, since its amount differs between the members of a stack."""
    for module in model.modules():
        if isinstance(module, Attention):
            module.packed = False


def _count(on_epoch: Callable[[int], None], before: int, members: int, done: int) -> None:
    on_epoch(before + members * done)


class _Criterion(nn.Module):
    """A head's loss as a module's ``forward``, as :func:`torch.func.functional_call` needs it."""

    def __init__(self, head: Head) -> None:
        super().__init__()
        self.head = head

    def forward(self, batch: Batch, targets: Tensor) -> tuple[Tensor, Tensor]:
        return self.head.criterion(batch, targets)


class _Stack:
    def __init__(self, corpus: Corpus, tasks: Sequence[Task]) -> None:
        setup, fit = tasks[0]
        self.corpus, self.tasks = corpus, tasks
        self.device = resolve_device(setup.device)
        starts = [begin(corpus, setup, fit.seed) for setup, fit in tasks]
        self.heads = [head for head, _ in starts]
        self.orders = [order for _, order in starts]
        streams = self.heads[0].streams
        self.standardisations = {s: Standardisation.of(corpus.streams[s], fit.fitted) for s in streams}
        self.batcher = Batcher(corpus.streams, self.standardisations, self.device)
        self.targets = torch.from_numpy(corpus.targets(setup.classes)).to(self.device)
        wrapped = [_Criterion(head) for head in self.heads]
        parameters, buffers = stack_module_state(wrapped)
        self.parameters = {n: p.detach().to(self.device).requires_grad_() for n, p in parameters.items()}
        self.buffers = {n: b.to(self.device) for n, b in buffers.items()}
        self.model = copy.deepcopy(wrapped[0]).to("meta")
        _pad(self.model)
        for name, dropout in dropouts(self.model).items():
            dropout.active = any(dropouts(each)[name].active for each in wrapped)

    def train(self, on_epoch: Callable[[int], None]) -> list[Trained]:
        setup, fit = self.tasks[0]
        optimiser = StackedAdamW(
            list(self.parameters.values()),
            [task.training.learning_rate for task, _ in self.tasks],
            [task.training.weight_decay for task, _ in self.tasks],
        )
        histories: list[list[Epoch]] = [[] for _ in self.tasks]
        clips, watch = (torch.from_numpy(clips).to(self.device) for clips in (fit.fitted, fit.watched))
        step = 0
        with one_thread():
            for number in range(1, setup.training.epochs + 1):
                if number - 1 == setup.training.halve_after:
                    optimiser.halve()
                shuffled = torch.stack([torch.randperm(len(clips), generator=order) for order in self.orders])
                fitted = self._fit_epoch(clips[shuffled.to(self.device)], optimiser, step)
                step += -(-len(clips) // setup.training.batch)
                watched = self._watch(watch) if len(watch) else [()] * len(self.tasks)
                for history, loss, right, figures in zip(histories, *fitted, watched, strict=True):
                    history.append(Epoch(number, loss, right, *figures))
                on_epoch(number)
            probabilities = self._probabilities(torch.arange(len(self.corpus.clips), device=self.device))
        return [
            Trained(Member(setup.classes, head, self.standardisations), tuple(history), values)
            for head, history, values in zip(self._members(), histories, probabilities, strict=True)
        ]

    def _fit_epoch(
        self, shuffled: Tensor, optimiser: StackedAdamW, step: int
    ) -> tuple[list[float], list[float]]:
        """Train one epoch over ``shuffled`` ``[M, N]``; return mean losses and accuracies."""
        self.model.train()
        called = vmap(self._call, in_dims=(0, 0, 0, 0))
        loss_sum = right = torch.zeros(len(self.tasks), device=self.device)
        for number, clips in enumerate(torch.split(shuffled, self.tasks[0][0].training.batch, dim=1)):
            self._rekey(step + number)
            targets = self.targets[clips]
            losses, logits = called(self.parameters, self.buffers, dict(self.batcher(clips)), targets)
            gradients = torch.autograd.grad(losses.sum(), list(self.parameters.values()))
            optimiser.step(list(gradients))
            loss_sum = loss_sum + losses.detach() * clips.shape[1]
            right = right + (logits.argmax(dim=2) == targets).sum(dim=1)
        return (loss_sum / shuffled.shape[1]).tolist(), (right / shuffled.shape[1]).tolist()

    def _rekey(self, step: int) -> None:
        names = list(dropouts(self.model))
        drawn = torch.stack([keys(fit.seed, step, len(names)) for _, fit in self.tasks], dim=1)
        for name, key in zip(names, drawn.to(self.device), strict=True):
            self.buffers[f"{name}.key"] = key

    def _call(
        self, parameters: dict[str, Tensor], buffers: dict[str, Tensor], batch: Batch, targets: Tensor
    ) -> tuple[Tensor, Tensor]:
        loss, logits = functional_call(self.model, (parameters, buffers), (batch, targets))
        return loss, logits

    def _watch(self, clips: Tensor) -> list[tuple[float, ...]]:
        truth = self.targets[clips].cpu().numpy()
        return [judged(values, truth, self.tasks[0][0].classes) for values in self._probabilities(clips)]

    @torch.no_grad()
    def _probabilities(self, clips: Tensor) -> np.ndarray:
        """Return probabilities ``[M, N, C]``, float64."""
        self.model.eval()
        called = vmap(self._call, in_dims=(0, 0, None, None))
        logits = []
        for part in torch.split(clips, PREDICT_BATCH):
            anything = torch.zeros_like(part)  # dummy targets, not used for scoring
            logits.append(called(self.parameters, self.buffers, dict(self.batcher(part)), anything)[1])
        return np.asarray(torch.cat(logits, dim=1).double().softmax(dim=2).cpu())

    def _members(self) -> list[Head]:
        """Return the heads with their trained weights."""
        for number, head in enumerate(self.heads):
            state = {
                name.removeprefix("head."): p[number].detach().cpu() for name, p in self.parameters.items()
            }
            head.load_state_dict(state)
            head.eval()
        return self.heads


class StackedAdamW:
    """AdamW over stacked tensors ``[M, …]``.

    Unlike :class:`torch.optim.AdamW`, it takes a learning rate and a weight decay for each of M members.
    """

    def __init__(
        self,
        parameters: list[Tensor],
        learning_rates: Sequence[float],
        weight_decays: Sequence[float],
        betas: tuple[float, float] = (0.9, 0.999),
        epsilon: float = 1e-8,
    ) -> None:
        self.parameters, self.betas, self.epsilon = parameters, betas, epsilon
        self.means = [torch.zeros_like(p) for p in parameters]
        self.squares = [torch.zeros_like(p) for p in parameters]
        self.steps = 0
        self.rates = [_along(p, learning_rates) for p in parameters]
        kept = [1 - rate * decay for rate, decay in zip(learning_rates, weight_decays, strict=True)]
        self.kept = [_along(p, kept) for p in parameters]

    def halve(self) -> None:
        """Halve the learning rates."""
        self.rates = [rate / 2 for rate in self.rates]
        self.kept = [(1 + kept) / 2 for kept in self.kept]

    @torch.no_grad()
    def step(self, gradients: list[Tensor]) -> None:
        """Update :attr:`parameters` by one step."""
        self.steps += 1
        first, second = (1 - beta**self.steps for beta in self.betas)
        torch._foreach_mul_(self.parameters, self.kept)
        torch._foreach_lerp_(self.means, gradients, 1 - self.betas[0])
        torch._foreach_mul_(self.squares, self.betas[1])
        torch._foreach_addcmul_(self.squares, gradients, gradients, 1 - self.betas[1])
        scale = torch._foreach_sqrt(self.squares)
        torch._foreach_div_(scale, second**0.5)
        torch._foreach_add_(scale, self.epsilon)
        change = torch._foreach_div(self.means, scale)
        torch._foreach_mul_(change, self.rates)
        torch._foreach_sub_(self.parameters, change, alpha=1 / first)


def _along(tensor: Tensor, values: Sequence[float]) -> Tensor:
    """Return M values shaped to broadcast along the first dimension of ``tensor`` ``[M, …]``."""
    return torch.tensor(values, dtype=tensor.dtype, device=tensor.device).view(-1, *[1] * (tensor.ndim - 1))


def _shape(setup: Setup, head: Head) -> object:
    """Return a key that is equal for setups that can be stacked."""
    alike = replace(
        setup,
        head=replace(
            setup.head,
            dropout=0.0,
            lambda_visual=1.0,
            lambda_audio=1.0,
            decision_weight=None,
            hidden=0,
            outputs=0,
        ),
        training=replace(setup.training, learning_rate=0.0, weight_decay=0.0),
    )
    return alike, tuple((name, tuple(tensor.shape)) for name, tensor in head.state_dict().items())
