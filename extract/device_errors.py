"""Classifies GPU errors: too little memory for a batch, or a device that this process can no longer use."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

# torch raises RuntimeError for most of these; only newer versions have dedicated classes.
_DEVICE = re.compile(
    r"\b(CUDA|cuDNN|cuBLAS|cuFFT|NCCL|HIP|MPS)\b[^\n]*\b(error|failure|out of memory)\b"
    r"|\b(CUDNN|CUBLAS|CUFFT)_STATUS_",
    re.IGNORECASE,
)


def is_device_error(error: BaseException | None) -> bool:
    """Whether the error is the device's fault, not the clip's.

    After such an error on CUDA, every later call of the process fails as well. Running out of memory counts
    too: a process that has the device to itself may have enough.
    """
    while error is not None:
        if is_out_of_memory(error) or (isinstance(error, RuntimeError) and _DEVICE.search(str(error))):
            return True
        error = error.__cause__
    return False


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the device, not the machine, ran out of memory."""
    import torch

    if isinstance(error, torch.cuda.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and "MPS backend out of memory" in str(error)


class InBatches:
    """Computes rows in batches, halving the batch size whenever the device runs out of memory.

    The reduced size is kept for later calls. If even a single row does not fit, the error is raised.
    """

    def __init__(self) -> None:
        self._at_once: int | None = None

    def __call__(self, compute: Callable[[Tensor], Tensor], rows: Tensor) -> Tensor:
        """Return ``compute(rows)``; each row of the result must depend only on the same row of ``rows``."""
        import torch

        parts: list[Tensor] = []
        done = 0
        while done < len(rows):
            part = rows[done : done + (self._at_once or len(rows))]
            computed = self._try(compute, part)
            if computed is not None:
                parts.append(computed)
                done += len(part)
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _try(self, compute: Callable[[Tensor], Tensor], part: Tensor) -> Tensor | None:
        import torch

        try:
            return compute(part)
        except RuntimeError as error:
            if len(part) == 1 or not is_out_of_memory(error):
                raise
        # Outside the except block, so that the tensors held by the traceback are freed.
        self._at_once = len(part) // 2
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        return None
