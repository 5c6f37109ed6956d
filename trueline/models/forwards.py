"""Token by token through the model's own forward pass: the way for any causal model.

    logits, cache = model(tokens, cache)

Keys and values lie in buffers with room to spare, repeated for the K samples of a prompt. Prompts
are padded on the right and the padded slots are masked afterwards.

Shapes: B prompts, K samples of each, R rows, V vocabulary.
Fails for models that take no `past_key_values` of attention layers.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from trueline.models.passes import logits_at

__all__ = ["Forwards"]

_GROWTH = 32


class Forwards:
    """The keys, values and positions of one batch of rows."""

    def __init__(self, model: Any) -> None:
        self.model = model

    def start(self, prefixes: list[list[int]], width: int, room: int) -> Tensor:
        """Take in B prompts, `width` rows of each; logits [R, V] after them."""
        device = self.model.device
        longest = max(len(ids) for ids in prefixes)
        padded = [ids + [0] * (longest - len(ids)) for ids in prefixes]
        lengths = torch.tensor([len(ids) for ids in prefixes], device=device)
        self.cache = _roomy_cache(self.model.config)
        last = torch.arange(len(padded), device=device) * longest + lengths - 1
        with logits_at(self.model, last):
            logits = self.model(
                input_ids=torch.tensor(padded, device=device),
                past_key_values=self.cache,
                use_cache=True,
            ).logits[0]
        each = torch.arange(len(padded), device=device).repeat_interleave(width)
        if width > 1:
            self.cache.reorder_cache(each)
        self.positions = lengths[each]
        self.mask: Tensor | None = None
        if int(lengths.min()) < longest:
            self.mask = torch.arange(longest, device=device) < self.positions[:, None]
        return torch.as_tensor(logits[each])

    def keep(self, at: Tensor) -> None:
        """Go on with these rows only."""
        self.positions = self.positions[at]
        self.cache.reorder_cache(at)
        if self.mask is not None:
            self.mask = self.mask[at]

    def step(self, tokens: Tensor) -> Tensor:
        """Feed one token a row; logits [R, V] after it."""
        if self.mask is not None:
            self.mask = torch.cat([self.mask, self.mask.new_ones(len(tokens), 1)], 1)
        logits = self.model(
            input_ids=tokens[:, None],
            attention_mask=self.mask,
            position_ids=self.positions[:, None],
            past_key_values=self.cache,
            use_cache=True,
        ).logits[:, -1]
        self.positions = self.positions + 1
        return torch.as_tensor(logits)


class _RoomyLayer(DynamicLayer):  # type: ignore[no-untyped-call]
    """Keys and values with room to spare: a token more does not copy all before it."""

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
            self._used = 0
            self._buffers = [key_states[:, :, :0], value_states[:, :, :0]]
        end = self._used + key_states.shape[2]
        if end > self._buffers[0].shape[2]:
            self._buffers = [self._widened(b, end + _GROWTH) for b in self._buffers]
        self._buffers[0][:, :, self._used : end] = key_states
        self._buffers[1][:, :, self._used : end] = value_states
        self._used = end
        self.keys, self.values = (b[:, :, :end] for b in self._buffers)
        return self.keys, self.values

    def _widened(self, buffer: Tensor, size: int) -> Tensor:
        wide = buffer.new_zeros(*buffer.shape[:2], size, buffer.shape[3])
        wide[:, :, : self._used] = buffer[:, :, : self._used]
        return wide

    def reorder_cache(self, beam_idx: Tensor) -> None:
        used = [buffer[:, :, : self._used] for buffer in self._buffers]
        self._buffers = [
            self._widened(part.index_select(0, beam_idx), self._used + _GROWTH) for part in used
        ]
        self.keys, self.values = (b[:, :, : self._used] for b in self._buffers)


def _roomy_cache(config: Any) -> Any:
    cache = DynamicCache(config=config)
    cache.layers = [
        _RoomyLayer() if type(layer) is DynamicLayer else layer  # type: ignore[no-untyped-call]
        for layer in cache.layers
    ]
    return cache
