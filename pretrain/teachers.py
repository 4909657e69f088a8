"""Distillation: a network also learns the probabilities of trained networks (arXiv:1503.02531).

Teachers see each picture with the same augmentation and mixup as the student (arXiv:2106.05237), so their
probabilities are computed anew at each step.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..extract.backbones import BackboneSpec
from ..extract.backbones.backbone import LUMA
from ..extract.digest import sha256_of
from .card import read_classifier
from .errors import PretrainError
from .specs import Normalisation


class Teachers(nn.Module):
    """``[N, K, S, S]`` normalised for the student → ``[N, C]``, the teachers' mean probabilities.

    Args:
        files: weights written by ``avemo pretrain face``, of any architecture.
        student: network that learns.
        classes: its C classes, in order; each teacher must have the same ones.
        share: teachers' share of each label; the rest is the label itself.

    Raises:
        WeightsError: a file cannot be read.
        PretrainError: a teacher has other classes.
    """

    def __init__(
        self, files: Sequence[Path], student: BackboneSpec, classes: Sequence[str], share: float
    ) -> None:
        super().__init__()
        self.share = share
        self.teachers = nn.ModuleList(_Teacher(file, student, tuple(classes)) for file in files)
        self._sha256 = [sha256_of(file) for file in files]
        self.requires_grad_(False)
        self.eval().to(memory_format=torch.channels_last)

    def identity(self) -> dict[str, Any]:
        """Return all settings that affect what they teach, as plain values."""
        return {"weights_sha256": self._sha256, "share": self.share}

    def forward(self, pictures: Tensor) -> Tensor:
        probabilities = [teacher(pictures) for teacher in self.teachers]
        return cast(Tensor, sum(probabilities[1:], probabilities[0])) / len(probabilities)

    @torch.no_grad()
    def targets(self, pictures: Tensor, labels: Tensor) -> Tensor:
        """Mix the teachers' share into ``[N, C]`` labels."""
        return torch.lerp(labels, self(pictures), self.share)


class _Teacher(nn.Module):
    """One teacher, which converts the student's input to its own."""

    _order: Tensor

    def __init__(self, file: Path, student: BackboneSpec, classes: tuple[str, ...]) -> None:
        super().__init__()
        self.classifier, spec, known = read_classifier(file)
        if sorted(known) != sorted(classes):
            raise PretrainError(
                f"{file}: has the classes {', '.join(known)}, but the pictures are of {', '.join(classes)}: "
                "expected a teacher of the same classes"
            )
        self._own, self._student = spec, student
        self._normalise = Normalisation.of(spec)
        self.register_buffer("_order", torch.tensor([known.index(name) for name in classes]))

    def forward(self, pictures: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self._translated(pictures)).float()
        return logits.softmax(1)[:, self._order]

    def _translated(self, pictures: Tensor) -> Tensor:
        own, student = self._own, self._student
        size = (own.input_size, own.input_size)
        faces = pictures.float()
        if tuple(faces.shape[2:]) != size:
            faces = functional.interpolate(faces, size, mode="bilinear", antialias=True)
        if (own.colour, own.mean, own.std) == (student.colour, student.mean, student.std):
            return faces.contiguous(memory_format=torch.channels_last)
        mean, std = (faces.new_tensor(v).reshape(1, -1, 1, 1) for v in (student.mean, student.std))
        faces = faces * std + mean
        if student.colour == "bgr":
            faces = faces.flip(1)
        if own.colour == "grey" != student.colour:
            faces = (faces * faces.new_tensor(LUMA).reshape(1, 3, 1, 1)).sum(1, keepdim=True)
        elif student.colour == "grey" != own.colour:
            faces = faces.expand(-1, 3, -1, -1)
        return self._normalise(faces)
