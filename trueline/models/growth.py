"""Continuing token prefixes side by side: one batch of rows that grow, end and are dropped.

    token = F^-1(u),  F the cumulative softmax(logits / temperature),  u ~ U[0, 1) drawn beforehand

Every sample brings its own row of uniforms, so that what a row says depends neither on the batch it
is in nor on how many batches there are (up to rounding of the logits). Prefixes are sorted by
length; their keys and values are computed once for K samples. Rows that have ended are dropped
once they are a quarter, in eights.

Shapes: B prefixes, K samples of each, R rows alive, M tokens at most, V vocabulary. Units: nats.
"""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trueline.models.forwards import Forwards

__all__ = ["Continuation", "grow"]

_CACHE_BYTES = 2**27
_EIGHT = 8


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
    per_pass, size = _batch(model, num_samples, longest, room, max_rows)
    order = sorted(range(len(prefixes)), key=lambda b: (len(prefixes[b]), b))
    out: list[list[Continuation]] = [[] for _ in prefixes]
    for k in range(0, num_samples, per_pass):
        width = min(per_pass, num_samples - k)
        for i in range(0, len(order), size):
            chosen = order[i : i + size]
            field = _Field(
                Forwards(model),
                uniforms[np.array(chosen), k : k + width],
                stop_ids,
                torch.device(model.device),
            )
            field.run([prefixes[b] for b in chosen], temperature)
            for j, row in enumerate(field.harvest()):
                out[chosen[j // width]].append(row)
    return out


class _Field:
    """What one batch has said: columns are rows of the batch, the first of them still growing."""

    def __init__(
        self,
        steps: Forwards,
        uniforms: np.ndarray,
        stop_ids: AbstractSet[int],
        device: torch.device,
    ) -> None:
        self.steps = steps
        _, self.width, self.room = uniforms.shape
        columns = np.ascontiguousarray(uniforms.reshape(-1, self.room).T)
        self.uniforms = torch.from_numpy(columns).to(device)
        self.stops = torch.tensor(sorted(stop_ids), dtype=torch.long, device=device)
        self.ids = torch.zeros(columns.shape, dtype=torch.long, device=device)
        self.logps = torch.zeros(columns.shape, dtype=torch.float64, device=device)
        self.whose = torch.arange(columns.shape[1], device=device)
        self.growing = torch.ones(columns.shape[1], dtype=torch.bool, device=device)

    def run(self, prefixes: list[list[int]], temperature: float) -> None:
        logits = self.steps.start(prefixes, self.width, self.room)
        for step in range(self.room):
            scaled = logits.float() if temperature in (0, 1) else logits.float() / temperature
            logps = torch.log_softmax(scaled, -1)
            rows = len(logps)
            tokens = self._pick(logps, step) if temperature else logps.argmax(-1)
            self.ids[step, :rows] = tokens
            self.logps[step, :rows] = logps.gather(1, tokens[:, None])[:, 0]
            if step + 1 == self.room:
                return
            if len(self.stops):
                self.growing &= (tokens[:, None] != self.stops).all(1)
                num_growing = int(self.growing.sum())
                if num_growing == 0:
                    return
                kept = min(rows, -(-num_growing // _EIGHT) * _EIGHT)
                if kept <= 0.75 * rows:
                    tokens = self._drop(tokens, kept)
            logits = self.steps.step(tokens)

    def _pick(self, logps: Tensor, step: int) -> Tensor:
        cumulative = logps.exp().cumsum(-1, dtype=torch.float64)
        u = self.uniforms[step, : len(logps), None] * cumulative[:, -1:]
        picked = torch.searchsorted(cumulative, u, right=True)[:, 0]
        return picked.clamp_(max=logps.shape[-1] - 1)

    def _drop(self, tokens: Tensor, num: int) -> Tensor:
        """Put the `num` rows that go on, the growing ones first, into the first columns."""
        order = torch.argsort(~self.growing, stable=True)
        at, self.growing = order[:num], self.growing[order[:num]]
        self.steps.keep(at)
        for table in (self.ids, self.logps, self.uniforms):
            table[:, : len(order)] = table[:, order]
        self.whose[: len(order)] = self.whose[order]
        return tokens[at]

    def harvest(self) -> list[Continuation]:
        """Each row's tokens up to its first stop; what ended rows were fed after it is left out."""
        back = self.whose.argsort()
        stopped = torch.isin(self.ids[:, back], self.stops).cpu().numpy()
        ids, logps = self.ids[:, back].T.tolist(), self.logps[:, back].T.cpu().numpy()
        ended = np.atleast_1d(stopped.any(0)).tolist()
        lengths = np.where(ended, stopped.argmax(0), self.room).tolist()
        return [
            Continuation(ids[i][:n], logps[i, : n + end], ids[i][n] if end else None)
            for i, (n, end) in enumerate(zip(lengths, ended, strict=True))
        ]


def _batch(model: Any, num_samples: int, longest: int, room: int, max_rows: int) -> tuple[int, int]:
    """How many samples of how many prompts go side by side: what fits into 128 MB, or the size
    of the weights if that is more."""
    config = model.config
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    head_dim = getattr(config, "head_dim", None) or (
        config.hidden_size // config.num_attention_heads
    )
    per_token = 2 * config.num_hidden_layers * heads * head_dim * model.dtype.itemsize
    tokens = max(_CACHE_BYTES, sum(p.nbytes for p in model.parameters())) // per_token
    rows = min(max_rows, max(1, tokens // (longest + room)))
    width = min(num_samples, rows)
    return width, max(1, rows // width)
