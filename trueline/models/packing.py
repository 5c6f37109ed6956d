"""Rows laid end to end, the prompt they share once: no padding, no token computed twice.

    tokens [N] = prompt_1 answer_11 .. answer_1K prompt_2 answer_21 ..
    row r attends along grid[r] = where its tokens lie;   position = place in the row

All but attention acts on tokens one by one, so that N tokens cost what N tokens cost. Attention is
made row by row: queries, keys and values are spread out to [R, T], pads at the end, where no
real token looks. What a prompt gets back in the gradient is the sum over its rows.

The model's own code runs; within `Packed` its calls of `scaled_dot_product_attention` are answered
as above, and its linear maps are those of `products`. A model whose attention is anything but plain
and causal, or whose packed log-probabilities are not those of its rows (tried once), is not packed.

Shapes: R rows, T tokens of the longest, N tokens in all, H heads, E head width. N is rounded up to
a multiple of 64: oneDNN compiles and keeps its products anew for every number of tokens it meets.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Int
from torch import Tensor
from torch.overrides import TorchFunctionMode, _get_current_function_mode

from trueline.models.products import linear
from trueline.models.tokens import Encoded, batches

__all__ = ["Layout", "Packed", "row_batches", "under_way"]

_STEP = 64
"""The number of tokens is made a multiple of this by idle ones that nobody looks at."""


@dataclass(frozen=True)
class Layout:
    """Where the tokens of rows lie."""

    ids: Int[Tensor, " N"]
    positions: Int[Tensor, " N"]
    grid: Int[Tensor, "R T"]
    """Of each row's tokens, their place among the N; 0 behind its end."""
    back: Int[Tensor, " N"]
    """Of each token, its place in the flat grid; of a shared one, in the first row that has it."""

    @classmethod
    def of(cls, rows: Sequence[Encoded], device: torch.device) -> Layout:
        """Rows in the order given; those of equal prompts share them."""
        width = max(len(row.ids) for row in rows)
        prompts: dict[tuple[int, ...], int] = {}
        ids: list[int] = []
        positions: list[int] = []
        back: list[int] = []
        grid = np.zeros((len(rows), width), np.int64)
        for r, row in enumerate(rows):
            prompt = tuple(row.ids[: row.start])
            begin = 0 if prompt not in prompts else row.start
            at = prompts.setdefault(prompt, len(ids))
            grid[r, : row.start] = np.arange(at, at + row.start)
            fresh = len(ids) + row.start - begin
            ids += row.ids[begin:]
            positions += range(begin, len(row.ids))
            back += range(r * width + begin, r * width + len(row.ids))
            grid[r, row.start : len(row.ids)] = np.arange(fresh, len(ids))
        idle = [0] * (-len(ids) % _STEP)
        columns = (ids + idle, positions + idle, grid, back + idle)
        return cls(*(torch.as_tensor(x, device=device) for x in columns))

    def inputs(self) -> dict[str, Tensor]:
        """What the model is called with; the mask says only that there is none to be made, and
        fails where attention is not answered here."""
        mask = torch.empty(1, 1, 0, 0, device=self.ids.device)
        return {
            "input_ids": self.ids[None],
            "position_ids": self.positions[None],
            "attention_mask": mask,
        }


class Packed(TorchFunctionMode):
    """Within this context, and this thread, attention goes along a layout's rows."""

    def __init__(self, layout: Layout) -> None:
        super().__init__()
        self.layout = layout

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is F.linear:
            return linear(*args, **kwargs)
        if func is F.scaled_dot_product_attention:
            return self._attend(args[0], args[1], args[2], kwargs.get("scale"))
        return func(*args, **kwargs)

    def _attend(self, query: Tensor, key: Tensor, value: Tensor, scale: float | None) -> Tensor:
        """[1, H, N, E], keys and values maybe of fewer heads."""
        q, k, v = self._spread(query), self._spread(key), self._spread(value)
        grouped = query.shape[1] != key.shape[1]
        out = F.scaled_dot_product_attention(
            q, k, v, is_causal=True, scale=scale, enable_gqa=grouped
        )
        flat = out.transpose(1, 2).reshape(self.layout.grid.numel(), -1)
        heads = flat[self.layout.back].view(1, len(self.layout.back), query.shape[1], -1)
        return heads.transpose(1, 2)

    def _spread(self, x: Tensor) -> Tensor:
        """[1, H, N, E] to [R, H, T, E]."""
        _, heads, num_tokens, width = x.shape
        grid = self.layout.grid
        flat = x[0].transpose(0, 1).reshape(num_tokens, heads * width)
        rows = flat.index_select(0, grid.reshape(-1))
        return rows.view(*grid.shape, heads, width).transpose(1, 2)


def under_way() -> tuple[Any, Any]:
    """Contexts for a checkpointed block and its recomputation, which must go the same way."""
    mode = _get_current_function_mode()  # type: ignore[no-untyped-call]
    return contextlib.nullcontext(), mode or contextlib.nullcontext()


def row_batches(rows: Sequence[Encoded], *, max_tokens: int, packed: bool) -> list[np.ndarray]:
    """Numbers of rows that go through a model together, longest first, at most `max_tokens` a
    batch (one row at least). Packed: those of a prompt side by side, and its tokens count once."""
    if not packed:
        return batches([len(row.ids) for row in rows], max_tokens=max_tokens)
    families: dict[tuple[int, ...], list[int]] = {}
    for i, row in enumerate(rows):
        families.setdefault(tuple(row.ids[: row.start]), []).append(i)
    longest_first = sorted(families.items(), key=lambda f: -max(len(rows[i].ids) for i in f[1]))
    groups: list[np.ndarray] = []
    open_group: list[int] = []
    used = 0
    for prompt, family in longest_first:
        owed = len(prompt)
        for i in family:
            fresh = len(rows[i].ids) - rows[i].start
            if open_group and used + owed + fresh > max_tokens:
                groups.append(np.array(open_group, dtype=np.int64))
                open_group, used, owed = [], 0, len(prompt)
            open_group.append(i)
            used, owed = used + owed + fresh, 0
    return [*groups, np.array(open_group, dtype=np.int64)] if open_group else groups
