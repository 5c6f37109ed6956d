"""Continuing token prefixes side by side: one batch of rows that grow, end and are dropped.

    token = F^-1(u),  F the cumulative softmax(logits / temperature),  u ~ U[0, 1) drawn beforehand

Every sample brings its own row of uniforms, so that what a row says depends neither on the batch it
is in nor on how many batches there are (up to rounding of the logits). Prefixes are sorted by
length and padded on the right; their keys and values are computed once and repeated for K samples;
the padded slots are masked afterwards. Rows that have ended are dropped once they are a quarter.

Shapes: B prefixes, K samples of each, R rows alive, V vocabulary. Units: nats.
"""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from trueline.models.passes import logits_at

__all__ = ["Continuation", "grow"]

_CACHE_BYTES = 2**26
_GROWTH = 32


@dataclass(frozen=True, slots=True)
class Continuation:
    """Tokens a model put after a prefix, without the stop token, and their log-probability."""

    ids: list[int]
    token_logps: np.ndarray
    """float64, of `ids` and of the stop token if it said one; nats, at the sampling temperature."""
    end_id: int | None
    """The stop token it said; None where the continuation was cut."""

    @property
    def logp(self) -> float:
        """Sum over `ids`."""
        return float(self.token_logps[: len(self.ids)].sum())

    @property
    def end_logp(self) -> float:
        """Of the stop token; 0 where the continuation was cut."""
        return float(self.token_logps[len(self.ids) :].sum())


@torch.inference_mode()
def grow(
    model: Any,
    prefixes: Sequence[list[int]],
    *,
    uniforms: np.ndarray,
    stop_ids: AbstractSet[int],
    temperature: float = 1.0,
    max_rows: int = 512,
) -> list[list[Continuation]]:
    """K continuations of each of B prefixes, at most M tokens long; `uniforms` is [B, K, M].

    At temperature 0 the likeliest token is taken and `logp` is that of temperature 1.
    """
    _, num_samples, room = uniforms.shape
    longest = max(len(ids) for ids in prefixes)
    rows = min(max_rows, _affordable_rows(model, longest + room))
    per_pass = min(num_samples, rows)
    order = sorted(range(len(prefixes)), key=lambda b: (len(prefixes[b]), b))
    out: list[list[Continuation]] = [[] for _ in prefixes]
    for k in range(0, num_samples, per_pass):
        width = min(per_pass, num_samples - k)
        size = max(1, rows // width)
        for i in range(0, len(order), size):
            chosen = order[i : i + size]
            field = _Field(model, [prefixes[b] for b in chosen], uniforms[chosen, k : k + width])
            field.run(temperature, stop_ids)
            for j, row in enumerate(field.harvest()):
                out[chosen[j // width]].append(row)
    return out


class _Field:
    """The state of one batch while it grows: R rows, of which `rows` says whose they are."""

    def __init__(self, model: Any, prefixes: list[list[int]], uniforms: np.ndarray) -> None:
        self.model = model
        self.device = torch.device(model.device)
        self.prefixes = prefixes
        _, self.width, self.room = uniforms.shape
        drawn = np.ascontiguousarray(uniforms.reshape(-1, self.room))
        self.uniforms = torch.from_numpy(drawn).to(self.device)
        total = len(drawn)
        self.ids = torch.zeros(total, self.room, dtype=torch.long, device=self.device)
        self.lengths = torch.zeros(total, dtype=torch.long, device=self.device)
        self.ended = torch.zeros(total, dtype=torch.bool, device=self.device)
        self.logps = torch.zeros(total, self.room, dtype=torch.float64, device=self.device)
        self.rows = torch.arange(total, device=self.device)

    def run(self, temperature: float, stop_ids: AbstractSet[int]) -> None:
        stops = torch.tensor(sorted(stop_ids), dtype=torch.long, device=self.device)
        logits = self._prefill()
        for step in range(self.room):
            logps = torch.log_softmax(logits.float() / (temperature or 1.0), -1)
            tokens = self._pick(logps, step) if temperature else logps.argmax(-1)
            chosen = logps.gather(1, tokens[:, None])[:, 0].double()
            stopped = torch.isin(tokens, stops)
            self._record(tokens, chosen, stopped, step)
            growing = ~self.ended[self.rows]
            num_growing = int(growing.sum())
            if num_growing == 0 or step + 1 == self.room:
                return
            if num_growing <= 0.75 * len(self.rows):
                tokens = tokens[growing]
                self._keep(growing.nonzero()[:, 0])
            logits = self._step(tokens)

    def _prefill(self) -> Tensor:
        """Keys and values of the prompts, repeated for each sample; logits [R, V] after them."""
        longest = max(len(ids) for ids in self.prefixes)
        padded = [ids + [0] * (longest - len(ids)) for ids in self.prefixes]
        lengths = torch.tensor([len(ids) for ids in self.prefixes], device=self.device)
        self.cache = _roomy_cache(self.model.config)
        last = torch.arange(len(padded), device=self.device) * longest + lengths - 1
        with logits_at(self.model, last):
            logits = self.model(
                input_ids=torch.tensor(padded, device=self.device),
                past_key_values=self.cache,
                use_cache=True,
            ).logits[0]
        each = torch.arange(len(padded), device=self.device).repeat_interleave(self.width)
        if self.width > 1:
            self.cache.reorder_cache(each)
        self.positions = lengths[each]
        self.mask: Tensor | None = None
        if int(lengths.min()) < longest:
            self.mask = torch.arange(longest, device=self.device) < self.positions[:, None]
        return torch.as_tensor(logits[each])

    def _pick(self, logps: Tensor, step: int) -> Tensor:
        cumulative = logps.double().exp_().cumsum(-1)
        u = self.uniforms[self.rows, step][:, None] * cumulative[:, -1:]
        picked = torch.searchsorted(cumulative, u, right=True)[:, 0]
        return picked.clamp_(max=logps.shape[-1] - 1)

    def _record(self, tokens: Tensor, logps: Tensor, stopped: Tensor, step: int) -> None:
        growing = ~self.ended[self.rows]
        self.ids[self.rows, step] = tokens
        self.logps[self.rows, step] = logps
        self.lengths[self.rows] += growing & ~stopped
        self.ended[self.rows] |= growing & stopped

    def _keep(self, at: Tensor) -> None:
        self.rows, self.positions = self.rows[at], self.positions[at]
        self.cache.reorder_cache(at)
        if self.mask is not None:
            self.mask = self.mask[at]

    def _step(self, tokens: Tensor) -> Tensor:
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

    def harvest(self) -> list[Continuation]:
        """Each row's tokens; what ended rows were fed until they were dropped is left out."""
        ids, logps = self.ids.tolist(), self.logps.cpu().numpy()
        return [
            Continuation(ids[i][:n], logps[i, : n + ended], ids[i][n] if ended else None)
            for i, (n, ended) in enumerate(
                zip(self.lengths.tolist(), self.ended.tolist(), strict=True)
            )
        ]


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


def _affordable_rows(model: Any, num_tokens: int) -> int:
    """How many rows' keys and values fit into 64 MB."""
    config = model.config
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    head_dim = getattr(config, "head_dim", None) or (
        config.hidden_size // config.num_attention_heads
    )
    per_token = 2 * config.num_hidden_layers * heads * head_dim * model.dtype.itemsize
    return max(1, int(_CACHE_BYTES // (per_token * num_tokens)))
