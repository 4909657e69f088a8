"""Resolves a network's precision and prepares networks to run in it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal, cast, get_args

from .devices import cpu_has_bf16, known_bf16
from .errors import ExtractError

if TYPE_CHECKING:
    import torch
    from torch import nn

Precision = Literal["fp32", "bf16", "int8"]
IN_INT8 = ("ferplusnet", "ferresnet")
"""The networks that int8 speeds up without loss of accuracy (``benchmarks/NOTES.md``)."""


def dtype_of(precision: Precision) -> torch.dtype:
    """Return the torch type of a network's input. An int8 network quantises its float32 input itself."""
    import torch

    return torch.bfloat16 if precision == "bf16" else torch.float32


def resolve_precision(
    precision: str, device: torch.device | str, bf16_suits: bool = True, int8_suits: bool = False
) -> Precision:
    """Resolve ``"auto"``, ``"fp32"``, ``"bf16"`` or ``"int8"`` to the precision used on ``device``.

    ``"auto"`` is bf16 if the device multiplies in it, else fp32.

    Args:
        precision: the requested precision.
        device: device that the network runs on.
        bf16_suits: whether the network keeps its accuracy in bf16; if not, ``"auto"`` is fp32.
        int8_suits: whether the network may run in int8.

    Raises:
        ExtractError: the precision is unknown, or int8 is not available for this device or network.
    """
    if precision == "auto":
        return "bf16" if bf16_suits and has_fast_bf16(device) else "fp32"
    if precision not in get_args(Precision):
        raise ExtractError(f"precision {precision!r} is unknown: expected auto, fp32, bf16 or int8")
    if precision == "int8" and str(device).partition(":")[0] != "cpu":
        raise ExtractError(f"precision int8 needs --device cpu, and this is {device}; use auto")
    if precision == "int8" and not int8_suits:
        raise ExtractError(f"precision int8 is only for {' and '.join(IN_INT8)}; use auto")
    return cast(Precision, precision)


def has_fast_bf16(device: torch.device | str) -> bool:
    """Whether ``device`` has bf16 instructions; without them, bf16 is emulated and slower than fp32."""
    if str(device) in known_bf16:
        return known_bf16[str(device)]
    kind = str(device).partition(":")[0]
    if kind == "cuda":
        import torch

        return torch.cuda.get_device_capability(device)[0] >= 8
    return kind == "cpu" and cpu_has_bf16()


@contextmanager
def exact_fp32() -> Iterator[None]:
    """Compute fp32 in full precision; by default, cuDNN convolutions round it to TF32, which has 10 bits."""
    import torch

    convolutions, products = torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision()
    torch.backends.cudnn.allow_tf32 = False
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = convolutions
        torch.set_float32_matmul_precision(products)


def prepare(module: nn.Module, device: torch.device | str, precision: Precision) -> nn.Module:
    """Prepare ``module`` for inference: frozen, batch norms folded, channels last, cast, on ``device``."""
    import torch

    module = fold_batch_norms(module.eval().requires_grad_(False))
    return module.to(device, dtype_of(precision)).to(memory_format=torch.channels_last)


def fold_batch_norms(module: nn.Module) -> nn.Module:
    """Fold every batch norm that directly follows a convolution into it, exactly except for rounding.

    A network that torch.fx cannot trace, as its control flow depends on its input, is returned unchanged.
    """
    from torch import nn
    from torch.fx.experimental import optimization

    if not any(isinstance(part, nn.BatchNorm2d) for part in module.modules()):
        return module
    try:
        return optimization.fuse(module)
    except Exception:  # tracing runs the network's own code on proxies, which may raise anything
        return module
