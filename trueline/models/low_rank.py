"""Run a LoRA layer's two thin products inside its base product, with their gradients.

    y = x W' + s (x A') B',   dx = dy W + s (dy B) A,   dA = s (dy B)' x,   dB = s dy' (x A')

peft adds the two products as tensors of their own, scales one and adds them up: on a CPU these
passes over memory cost a GRPO update as much as the products themselves. Here the thin product is
added where the base product lies. Equal to peft's layer within float32 rounding.

Shapes: N tokens, W [D_out, D_in], A [r, D_in], B [D_out, r], s = alpha / r.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from peft.tuners.lora import Linear
from torch import Tensor
from torch.nn import functional as F

__all__ = ["fuse"]


def fuse(adapted: Any) -> None:
    """Let every adapted linear map of a module tree run as one product."""
    for module in adapted.modules():
        if isinstance(module, Linear) and type(module.get_base_layer()) is torch.nn.Linear:
            module.forward = partial(_forward, module)  # type: ignore[method-assign]


def _forward(layer: Any, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    plain = layer.disable_adapters or layer.merged
    if plain or len(layer.active_adapters) != 1:
        out: Tensor = type(layer).forward(layer, x, *args, **kwargs)
        return out
    (name,), base = layer.active_adapters, layer.get_base_layer()
    a, b = layer.lora_A[name].weight, layer.lora_B[name].weight
    return _Product.apply(x, base.weight, base.bias, a, b, layer.scaling[name])  # type: ignore[no-untyped-call, no-any-return]


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *given: Any) -> Tensor:
        x, weight, bias, a, b, scale = given
        rows = x.reshape(-1, x.shape[-1])
        thin = rows.to(a.dtype) @ a.t()
        y = F.linear(rows, weight, bias)
        _add(y, thin, b.t(), scale)
        ctx.save_for_backward(rows, weight, a, b, thin)
        ctx.scale = scale
        # In place, and no view: a view may not be changed by what comes after.
        return y.resize_(*x.shape[:-1], len(weight))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        rows, weight, a, b, thin = ctx.saved_tensors
        dy = grads[0].reshape(-1, len(weight))
        wide = dy.to(b.dtype)
        to_thin = (wide @ b).mul_(ctx.scale)
        to_x = None
        if ctx.needs_input_grad[0]:
            to_x = dy @ weight
            _add(to_x, to_thin, a, 1.0)
            to_x = to_x.view(*grads[0].shape[:-1], -1)
        to_a = to_thin.t() @ rows.to(a.dtype)
        to_b = (wide.t() @ thin).mul_(ctx.scale)
        return to_x, None, None, to_a, to_b, None


def _add(to: Tensor, left: Tensor, right: Tensor, scale: float) -> None:
    """Add `scale * left @ right` in place, rounded to the number type once."""
    if to.dtype == left.dtype:
        to.addmm_(left, right, alpha=scale)
    else:
        to.add_(left @ right, alpha=scale)
