"""Make logits where they are asked for, and no more of them at once than memory should hold.

The output head's input is cut, so that scaling and soft caps after it still apply. Of more than
`MOST_LOGITS` a slice of positions is made after the other, and its gradient at once, kept as that
of the hidden states [R, D] and not of logits [R, V]. A head that is trained, or parted among
processes, makes all at once. Shapes: R positions, D width, V vocabulary.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

__all__ = ["MOST_LOGITS", "logits_at", "logps_at"]

MOST_LOGITS = 2**23
"""Logits that stand in memory at once (32 MB), a few times over while their softmax is taken."""
_WHERE: ContextVar[Tensor | None] = ContextVar("where", default=None)


@contextlib.contextmanager
def logits_at(model: Any, where: Int[Tensor, " R"]) -> Iterator[None]:
    """Within this context a pass of this thread has logits [1, R, V]: only at the flat positions
    `where`."""
    head = model.get_output_embeddings()
    if _cut not in head._forward_pre_hooks.values():
        head.register_forward_pre_hook(_cut)
    token = _WHERE.set(where)
    try:
        yield
    finally:
        _WHERE.reset(token)


def _cut(_: Any, args: tuple[Tensor, ...]) -> tuple[Tensor] | None:
    where = _WHERE.get()
    return None if where is None else (args[0].reshape(-1, args[0].shape[-1])[where][None],)


def logps_at(
    model: Any,
    inputs: Mapping[str, Any],
    where: Int[Tensor, " R"],
    targets: Int[Tensor, " R"],
    temperature: float = 1.0,
) -> Float[Tensor, " R"]:
    """Return the log-probability of each target at its flat position, float32, by one pass."""
    head = model.get_output_embeddings()
    size = max(1, MOST_LOGITS // len(head.weight))
    # Parted weights are gathered in each call, as often in one process as in another.
    own = any(p.requires_grad or hasattr(p, "full_tensor") for p in head.parameters())
    if len(where) <= size or own or model.base_model is model:
        with logits_at(model, where):
            return _logps(model(**inputs, use_cache=False).logits[0], targets, temperature)
    out = model.base_model(**inputs, use_cache=False)
    hidden = out[0].reshape(-1, out[0].shape[-1])[where]
    return _in_slices(_tail_of(model, out), hidden, targets, temperature, size)


def _in_slices(
    tail: Callable[[Tensor], Tensor],
    hidden: Float[Tensor, "R D"],
    targets: Tensor,
    temperature: float,
    size: int,
) -> Float[Tensor, " R"]:
    # What stays is allocated first: between slices it would break up the memory they leave.
    logps, slopes = torch.empty(len(hidden), device=hidden.device), torch.zeros_like(hidden)
    with torch.set_grad_enabled(hidden.requires_grad):
        for begin in range(0, len(hidden), size):
            part = slice(begin, begin + size)
            states = hidden[part].detach().requires_grad_(hidden.requires_grad)
            own = _logps(tail(states), targets[part], temperature)
            logps[part] = own.detach()
            if hidden.requires_grad:
                (slopes[part],) = torch.autograd.grad(own.sum(), states)
        # Nothing is added but the gradient.
        return logps + ((hidden - hidden.detach()) * slopes).sum(-1)


def _tail_of(model: Any, out: Any) -> Callable[[Float[Tensor, "R D"]], Float[Tensor, "R V"]]:
    """Return the model's own way from hidden states to logits: a copy of it in whose blocks' place
    stands what they gave, in the form of `out`."""
    tail, blocks = copy.copy(model), nn.Module()
    tail._modules = {**model._modules, model.base_model_prefix: blocks}

    def logits(states: Tensor) -> Tensor:
        blocks.forward = lambda *_, **__: type(out)(**{**out, "last_hidden_state": states[None]})
        ids = torch.zeros(1, len(states), dtype=torch.long, device=states.device)
        found: Tensor = tail(input_ids=ids, use_cache=False).logits[0]
        return found

    return logits


def _logps(logits: Tensor, targets: Int[Tensor, " R"], temperature: float) -> Float[Tensor, " R"]:
    logits = logits.float() if temperature == 1 else logits.float() / temperature
    return -nn.functional.cross_entropy(logits, targets, reduction="none")
