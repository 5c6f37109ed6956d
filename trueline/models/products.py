"""Linear maps in float32 on CPUs, faster than torch's default, with their gradients.

    y = x W' + b,   dx = dy W,   dW = dy' x,   db = sum dy

torch gives such products to MKL, which uses the widest vector units of its own maker's processors
only; oneDNN, which ships with torch too, uses those of every maker (`results/sampling.json` has the
speed of both on its machine). Within `quick_products` all
calls of `F.linear` that this concerns go there; everything else, other devices and number types
included, stays as it is.

Equal to `F.linear` within float32 rounding; where it is not (checked once), or where this torch
lacks oneDNN's product, nothing is replaced. Shapes: N rows, D_in, D_out.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

__all__ = ["linear", "quick_products"]


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`F.linear`, by the faster way where there is one."""
    if not _concerns(x, weight):
        return F.linear(x, weight, bias)
    wanted = x.requires_grad or weight.requires_grad or (bias is not None and bias.requires_grad)
    if wanted and torch.is_grad_enabled():
        y: Tensor = _Linear.apply(x, weight, bias)  # type: ignore[no-untyped-call]
        return y
    return _product(x, weight, bias)


class quick_products(TorchFunctionMode):
    """Within this context, and this thread, `F.linear` is `linear`."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        return (linear if func is F.linear else func)(*args, **(kwargs or {}))


class _Linear(torch.autograd.Function):
    """oneDNN's product with gradients."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x if weight.requires_grad else None, weight)
        return _product(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad,), (x, weight) = grads, ctx.saved_tensors
        rows = grad.reshape(-1, grad.shape[-1])
        to_x = to_weight = to_bias = None
        if ctx.needs_input_grad[0]:
            to_x = _product(rows, weight.t(), None).view(*grad.shape[:-1], -1)
        if ctx.needs_input_grad[1]:
            given = x.reshape(-1, x.shape[-1])
            # The thin side first: an adapter's other way round is slower.
            if rows.shape[1] <= given.shape[1]:
                to_weight = _product(rows.t(), given.t(), None)
            else:
                to_weight = _product(given.t(), rows.t(), None).t()
        if ctx.needs_input_grad[2]:
            to_bias = rows.sum(0)
        return to_x, to_weight, to_bias


def _concerns(x: Tensor, weight: Tensor) -> bool:
    cpu = x.device.type == "cpu" == weight.device.type
    float32 = x.dtype == torch.float32 == weight.dtype
    return cpu and float32 and _works() and not torch.is_autocast_enabled("cpu")


@functools.cache
def _works() -> bool:
    """Whether oneDNN's product is there and right."""
    x, weight = torch.linspace(-1, 1, 60).view(4, 15), torch.linspace(-2, 1, 45).view(3, 15)
    try:
        return torch.allclose(_product(x, weight, None), x @ weight.t(), atol=1e-4)
    except (AttributeError, RuntimeError):
        return False


def _product(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    y: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return y
