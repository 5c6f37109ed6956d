"""Rows that a `Decoder` continues: their keys and values, each row's own or the prompt's shared.

    own:     softmax(q [K_p; K_s]') [V_p; V_s],  the prompt's part copied to each of its K samples
    shared:  w o_p + (1 - w) o_s,  w = sigmoid(lse_p - lse_s),  the prompt's part stored once

`o` and `lse` are the attention over one part and the logarithm of its normaliser; the two are the
same sum. The K queries of a prompt are one product with its keys: Juravsky et al. 2024, "Hydragen"
(arXiv 2402.05099).

Where we differ: (1) one prefix a prompt, no trees; (2) rows that ended leave holes in the K
queries, which are padded with another row's.

Shapes: B prompts, K samples of each, R rows, P prompt tokens, H heads, G key/value heads, E head
width, t tokens so far. All buffers are allocated once, for the longest answer.
"""

from __future__ import annotations

import torch
from torch import Tensor

from trueline.models.decoder import Decoder

__all__ = ["Decoding", "Own", "Shared"]

_MULTIPLE = 8


class Decoding:
    """One batch of rows on their way; the memory is a variant of how the prompt is kept."""

    def __init__(self, decoder: Decoder, memory: type[Own] | type[Shared]) -> None:
        self.decoder, self._memory_of = decoder, memory

    def start(self, prefixes: list[list[int]], width: int, room: int) -> Tensor:
        """Take in B prompts, `width` rows of each; logits [R, V] after them."""
        device = self.decoder.embedding.device
        # Products are set up anew for every shape: few shapes are wanted.
        longest = max(len(ids) for ids in prefixes)
        wide = -(-longest // _MULTIPLE) * _MULTIPLE
        ids = torch.tensor([row + [0] * (wide - len(row)) for row in prefixes], device=device)
        lengths = torch.tensor([len(row) for row in prefixes], device=device)
        self.cos, self.sin = self.decoder.rotation(longest + room)
        self.memory = self._memory_of(self.decoder, lengths, longest, width, room)
        hidden = self.decoder.prefill(ids, self.memory.take)
        last = hidden[torch.arange(len(ids), device=device), lengths - 1]
        each = torch.arange(len(ids), device=device).repeat_interleave(width)
        self.positions = lengths[each]
        return self.decoder.logits(last)[each]

    def step(self, tokens: Tensor) -> Tensor:
        """Feed one token a row; logits [R, V] after it."""
        turn = self.cos[self.positions], self.sin[self.positions]
        hidden = self.decoder.hidden(tokens, *turn, self.memory.attend)
        self.memory.used += 1
        self.positions = self.positions + 1
        return self.decoder.logits(hidden)

    def keep(self, at: Tensor) -> None:
        """Go on with these rows only."""
        self.memory.keep(at)
        self.positions = self.positions[at]


class _Buffers:
    """Keys and values [R G, T, E] of every block, of which `used` slots are filled."""

    def __init__(self, decoder: Decoder, rows: int, room: int) -> None:
        self.scale = decoder.head_dim**-0.5
        self.groups = decoder.num_groups
        shape = (rows * self.groups, room, decoder.head_dim)
        make = decoder.embedding.new_empty
        self.keys = [make(shape) for _ in decoder.blocks]
        self.values = [make(shape) for _ in decoder.blocks]
        self.zero = make(1, 1, 1)
        self.used = 0

    def add(self, i: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Write one more token of each row; all keys and values so far."""
        for buffer, new in ((self.keys[i], keys), (self.values[i], values)):
            buffer.view(-1, self.groups, *buffer.shape[1:])[:, :, self.used] = new
        end = self.used + 1
        return self.keys[i][:, :end], self.values[i][:, :end]

    def keep(self, at: Tensor) -> None:
        """Move these rows to the front of the buffers and forget the others."""
        for buffers in (self.keys, self.values):
            for i, buffer in enumerate(buffers):
                rows = buffer.view(-1, self.groups, *buffer.shape[1:])
                rows[: len(at), :, : self.used] = rows[:, :, : self.used].index_select(0, at)
                buffers[i] = buffer[: len(at) * self.groups]

    def weigh(self, queries: Tensor, keys: Tensor, bias: Tensor | None) -> Tensor:
        """Scores of queries [X, Q, E] and keys [X, T, E]."""
        start, beta = (self.zero, 0) if bias is None else (bias, 1)
        return torch.baddbmm(start, queries, keys.transpose(1, 2), beta=beta, alpha=self.scale)


class Own(_Buffers):
    """Every row has its prompt's keys and values to itself."""

    def __init__(
        self, decoder: Decoder, lengths: Tensor, longest: int, width: int, room: int
    ) -> None:
        super().__init__(decoder, len(lengths) * width, longest + room)
        self.width, self.used = width, longest
        self.bias = _hidden_pads(lengths, longest, self.keys[0])
        if self.bias is not None:
            self.bias = self.bias.repeat_interleave(width * self.groups, 0)
            self.bias = torch.nn.functional.pad(self.bias, (0, room))

    def take(self, i: int, keys: Tensor, values: Tensor) -> None:
        """The prompts' keys and values [B, G, >= P, E]."""
        for buffer, new in ((self.keys[i], keys), (self.values[i], values)):
            rows = buffer.view(-1, self.width, self.groups, *buffer.shape[1:])
            rows[:, :, :, : self.used] = new[:, None, :, : self.used]

    def attend(self, i: int, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """One token of each row, [R, H, E] and [R, G, E]; [R, H E]."""
        q = queries.reshape(len(queries) * self.groups, -1, queries.shape[2])
        k, v = self.add(i, keys, values)
        bias = None if self.bias is None else self.bias[:, :, : k.shape[1]]
        weights = self.weigh(q, k, bias).softmax(-1, dtype=torch.float32).to(v.dtype)
        return torch.bmm(weights, v).view(len(queries), -1)

    def keep(self, at: Tensor) -> None:
        super().keep(at)
        if self.bias is not None:
            self.bias = self.bias.view(-1, self.groups, 1, self.bias.shape[2])[at].flatten(0, 1)


class Shared(_Buffers):
    """A prompt's keys and values stand once; the buffers hold what came after."""

    def __init__(
        self, decoder: Decoder, lengths: Tensor, longest: int, width: int, room: int
    ) -> None:
        super().__init__(decoder, len(lengths) * width, room)
        self.longest = longest
        self.prefix: list[tuple[Tensor, Tensor]] = []
        self.bias = _hidden_pads(lengths, longest, self.keys[0])
        self.owners = torch.arange(len(lengths), device=lengths.device).repeat_interleave(width)
        self._group()

    def take(self, i: int, keys: Tensor, values: Tensor) -> None:
        """The prompts' keys and values [B, G, >= P, E]."""
        end = self.longest
        self.prefix.append((keys[:, :, :end].contiguous(), values[:, :, :end].contiguous()))

    def attend(self, i: int, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """One token of each row, [R, H, E] and [R, G, E]; [R, H E]."""
        q = queries.reshape(len(queries) * self.groups, -1, queries.shape[2])
        own, own_lse = self._part(q, *self.add(i, keys, values), None)
        prompts, slots = self.slots.shape
        grouped = queries[self.slots].view(prompts, slots, self.groups, -1, q.shape[2])
        k, v = (x.flatten(0, 1) for x in self.prefix[i])
        bias = None if self.bias is None else self.bias.repeat_interleave(self.groups, 0)
        far, far_lse = self._part(
            grouped.transpose(1, 2).reshape(len(k), -1, q.shape[2]), k, v, bias
        )

        def back(x: Tensor) -> Tensor:
            rows = x.view(prompts, self.groups, slots, -1, x.shape[2]).transpose(1, 2)
            return rows.flatten(0, 1)[self.places].view(len(q), -1, x.shape[2])

        mixed = torch.lerp(own, back(far), torch.sigmoid(back(far_lse) - own_lse).to(own.dtype))
        return mixed.view(len(queries), -1)

    def _part(
        self, queries: Tensor, keys: Tensor, values: Tensor, bias: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        scores = self.weigh(queries, keys, bias).float()
        weights = scores.softmax(-1)
        # The largest weight is exp(largest score - lse).
        lse = scores.amax(-1, keepdim=True) - weights.amax(-1, keepdim=True).log()
        return torch.bmm(weights.to(values.dtype), values), lse

    def keep(self, at: Tensor) -> None:
        super().keep(at)
        live, self.owners = torch.unique(self.owners[at], return_inverse=True)
        if len(live) < len(self.prefix[0][0]):
            self.prefix = [(k[live], v[live]) for k, v in self.prefix]
            self.bias = None if self.bias is None else self.bias[live]
        self._group()

    def _group(self) -> None:
        """`slots` [B, K]: the rows of each prompt; `places` [R]: where in it each row stands."""
        counts = self.owners.bincount()
        order = self.owners.argsort(stable=True)
        starts = counts.cumsum(0) - counts
        rank = torch.empty_like(order)
        rank[order] = torch.arange(len(order), device=order.device) - starts[self.owners[order]]
        width = int(counts.max())
        self.places = self.owners * width + rank
        self.slots = order.new_zeros(len(counts) * width)
        self.slots[self.places] = torch.arange(len(order), device=order.device)
        self.slots = self.slots.view(len(counts), width)


def _hidden_pads(lengths: Tensor, longest: int, like: Tensor) -> Tensor | None:
    """[B, 1, P]: 0 at a prompt's tokens, -inf at its pads; None where there are none."""
    if int(lengths.min()) == longest:
        return None
    pads = torch.arange(longest, device=lengths.device) >= lengths[:, None]
    return like.new_zeros(pads.shape).masked_fill_(pads, float("-inf"))[:, None]
