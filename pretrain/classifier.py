"""A network of stage 1 with a classification layer."""

from __future__ import annotations

from torch import Tensor, nn


class Classifier(nn.Module):
    """``[N, K, S, S]`` normalised pictures → ``[N, C]`` logits: ``classes(dropout(trunk(x)))``."""

    def __init__(self, trunk: nn.Module, features: int, classes: int, dropout: float) -> None:
        super().__init__()
        self.trunk = trunk
        self.dropout = nn.Dropout(dropout)
        self.classes = nn.Linear(features, classes)

    def forward(self, pictures: Tensor) -> Tensor:
        logits: Tensor = self.classes(self.dropout(self.trunk(pictures)))
        return logits
