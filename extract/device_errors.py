"""What a GPU's errors mean: too little memory for a batch, or a device that this process can use no more."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

# torch raises RuntimeError for most of these; only newer versions have classes of their own.
_DEVICE = re.compile(
    r"\b(CUDA|cuDNN|cuBLAS|cuFFT|NCCL|HIP|MPS)\b[^\n]*\b(error|failure|out of memory)\b"
    r"|\b(CUDNN|CUBLAS|CUFFT)_STATUS_",
    re.IGNORECASE,
)


def is_device_error(error: BaseException | None) -> bool:
    """Whether the device failed, and not the clip.

    After such an error on CUDA every later call of the process fails as well. Too little memory counts too:
    a process of its own, with none beside it, may have enough.
    """
    while error is not None:
        if is_out_of_memory(error) or (isinstance(error, RuntimeError) and _DEVICE.search(str(error))):
            return True
        error = error.__cause__
    return False


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the device's memory, not the machine's, was too small."""
    import torch

    if isinstance(error, torch.cuda.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and "MPS backend out of memory" in str(error)


class InBatches:
    """Computes rows in batches that halve whenever the device has too little memory for one.

    What turned out to be too much is not tried again. A single row that does not fit is an error.
    """

    def __init__(self) -> None:
        self._at_once: int | None = None

    def __call__(self, compute: Callable[[Tensor], Tensor], rows: Tensor) -> Tensor:
        """``compute(rows)``, where each row of the result depends on the same row alone."""
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
        # Only here are the tensors free that the exception's traceback held.
        self._at_once = len(part) // 2
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        return None
