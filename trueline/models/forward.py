"""Run one forward pass over a batch of rows: pooled latents, log-probabilities of the responses.

    pooled = sum_t w_t h_lt,   w a pool's weights: one-hot, or 1/length over the response
    log p(token_t) = logits[t - 1, token_t] - logsumexp(logits[t - 1])   at response positions only

Latents are pooled by hooks while the pass runs, so that no layer's hidden states outlive it. The
hooks stay on the model, and do nothing but in the thread whose pass asked for it. Logits are made
of the positions that predict a response token alone (`logits`).

Rows of causal models are packed, laid end to end with the prompt they share once:

    tokens [N] = prompt_1 answer_11 .. answer_1K prompt_2 answer_21 ..
    row r attends along grid[r] = where its tokens lie;   position = place in the row

Attention (registered with transformers' `AttentionInterface`) spreads queries, keys and values out
to [R, T], pads at the end, where no real token looks; all else acts on tokens one by one. A model
whose attention is anything but plain and causal, or whose packed log-probabilities are not those of
its rows (tried once), is padded on the right instead, without an attention mask: a real token
cannot attend what comes after it. Encoders attend both ways and get their mask.

Shapes: B = R rows, T tokens of the longest, N tokens in all (rounded up: oneDNN compiles its
products anew for every number), S response tokens, V vocabulary, P pools, D width, H heads, E head
width.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from trueline.errors import SetupError
from trueline.models.chat_format import Encoded, batches
from trueline.models.loading import text_config
from trueline.models.logits import logps_at

__all__ = [
    "Batch",
    "Layout",
    "Pools",
    "attends_plainly",
    "blocks_of",
    "enable_packing",
    "pooling",
    "response_logps",
    "row_batches",
]

_PACKED = "trueline_packed"
_POOLING: ContextVar[tuple[frozenset[int], Any, dict[int, Tensor]] | None] = ContextVar(
    "pooling", default=None
)
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
        """Lay out rows in the order given; those of equal prompts share them."""
        width = max(len(row.ids) for row in rows)
        prompts: dict[tuple[int, ...], int] = {}
        ids, positions, back = list[int](), list[int](), list[int]()
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

    def inputs(self) -> dict[str, Any]:
        """Return what the model is called with. The empty mask says that none is to be made, and
        fails in a model that does not hand the layout on to its attention."""
        mask = torch.empty(1, 1, 0, 0, device=self.ids.device)
        tokens = {"input_ids": self.ids[None], "position_ids": self.positions[None]}
        return {**tokens, "attention_mask": mask, "layout": self}

    def attend(self, query: Tensor, key: Tensor, value: Tensor, scale: float | None) -> Tensor:
        """Attend along the rows: [1, H, N, E], perhaps fewer key heads, to [1, N, H, E]."""
        q, k, v = self._spread(query), self._spread(key), self._spread(value)
        grouped = query.shape[1] != key.shape[1]
        out = nn.functional.scaled_dot_product_attention(
            q, k, v, is_causal=True, scale=scale, enable_gqa=grouped
        )
        flat = out.transpose(1, 2).reshape(self.grid.numel(), -1)
        return flat[self.back].view(1, len(self.back), query.shape[1], -1)

    def _spread(self, x: Tensor) -> Tensor:
        """Copy [1, H, N, E] to [R, H, T, E]."""
        _, heads, num_tokens, width = x.shape
        flat = x[0].transpose(0, 1).reshape(num_tokens, heads * width)
        rows = flat.index_select(0, self.grid.reshape(-1))
        return rows.view(*self.grid.shape, heads, width).transpose(1, 2)


@dataclass(frozen=True)
class Pools:
    """P weighted sums of tokens a row: the terms `weights[i] * hidden[tokens[i]]` of `sums[i]`."""

    tokens: Int[Tensor, " I"]
    sums: Int[Tensor, " I"]
    weights: Float[Tensor, " I"]
    shape: tuple[int, int]
    """B and P."""

    def of(self, hidden: Tensor) -> Float[Tensor, "B P D"]:
        """Pool hidden states whose leading axes are the tokens; float32."""
        terms = hidden.reshape(-1, hidden.shape[-1])[self.tokens].float() * self.weights[:, None]
        out = terms.new_zeros(self.shape[0] * self.shape[1], terms.shape[1])
        return out.index_add_(0, self.sums, terms).view(*self.shape, -1)


@dataclass(frozen=True)
class Batch:
    """Rows of tokens, padded on the right or packed. `where` [R] are flat positions, row by row,
    that predict `targets` [R]."""

    ids: Int[Tensor, "B T"]
    """[1, N] where packed."""
    lengths: Int[Tensor, " B"]
    response_mask: Bool[Tensor, "B S"]
    """Which of the S response slots are filled."""
    where: Int[Tensor, " R"]
    targets: Int[Tensor, " R"]
    weights: Pools
    layout: Layout | None
    """Where tokens lie; None = padded."""

    @classmethod
    def of(cls, rows: Sequence[Encoded], *, device: torch.device, packed: bool = False) -> Batch:
        """Lay out rows, packed or padded with id 0, which is never seen."""
        longest = max(len(r.ids) for r in rows)
        layout = Layout.of(rows, device) if packed else None
        if layout is None:
            ids = torch.tensor([r.ids + [0] * (longest - len(r.ids)) for r in rows], device=device)
            places = torch.arange(ids.numel(), device=device).view_as(ids)
        else:
            ids, places = layout.ids[None], layout.grid
        at = torch.arange(longest, device=device)[None]
        start = torch.tensor([r.start for r in rows], device=device)[:, None]
        stop = torch.tensor([r.stop for r in rows], device=device)[:, None]
        counts, last = (stop - start)[:, 0], (stop - 1).clamp(min=0)[:, 0]
        slots = torch.arange(int(counts.max()), device=device)[None] < counts[:, None]
        before = (at >= start - 1) & (at < stop - 1)
        answer = (at >= start) & (at < stop)
        return cls(
            ids=ids,
            lengths=torch.tensor([len(r.ids) for r in rows], device=device),
            response_mask=slots,
            where=places[before],
            targets=ids.reshape(-1)[places[answer]],
            weights=_pools(places, answer, last),
            layout=layout,
        )


def _pools(places: Tensor, answer: Tensor, last: Tensor) -> Pools:
    """Return the pools last and mean; `places` [B, T] say where the rows' tokens lie, `answer`
    which of them are the response's."""
    each, counts = torch.arange(len(places), device=places.device), answer.sum(1)
    spoken = answer.nonzero()[:, 0]
    # The mean over no token is defined as the "last" pool: an empty response still has one.
    empty = (counts == 0).nonzero()[:, 0]
    tokens = [places[each, last], places[answer], places[empty, last[empty]]]
    sums = [each * 2, spoken * 2 + 1, empty * 2 + 1]
    ones = torch.ones(len(places), device=places.device)
    weights = [ones, 1.0 / counts[spoken], ones[empty]]
    return Pools(torch.cat(tokens), torch.cat(sums), torch.cat(weights), (len(places), 2))


def blocks_of(model: Any) -> nn.ModuleList:
    """Return the model's list of blocks, which the layers are numbered by."""
    return _stack_of(model)[1]


def _stack_of(model: Any) -> tuple[nn.Module, nn.ModuleList]:
    """Return the module that runs all blocks, whose output is the last layer, and their list."""
    count = int(text_config(model).num_hidden_layers)
    for module in model.modules():
        for child in module.children():
            if isinstance(child, nn.ModuleList) and len(child) == count:
                return module, child
    got = f"{type(model).__name__} without a list of {count}"
    raise SetupError("the trunk must keep its blocks in one list", got=got)


@contextlib.contextmanager
def pooling(model: Any, layers: Sequence[int], pools: Pools) -> Iterator[dict[int, Tensor]]:
    """Within this context a pass of this thread leaves its pooled layers, [B, P, D] each, in the
    dictionary yielded."""
    stack, blocks = _stack_of(model)
    if not any(isinstance(hook, partial) for hook in blocks[0]._forward_pre_hooks.values()):
        blocks[0].register_forward_pre_hook(partial(_pool_input, 0), with_kwargs=True)
        for i, module in enumerate([*blocks[:-1], stack]):
            module.register_forward_hook(partial(_pool_output, i + 1))
    pooled: dict[int, Tensor] = {}
    token = _POOLING.set((frozenset(layers), pools, pooled))
    try:
        yield pooled
    finally:
        _POOLING.reset(token)


def _pool_input(layer: int, _: Any, args: Any, kwargs: Any) -> None:
    _pool_output(layer, _, args, args[0] if args else kwargs["hidden_states"])


def _pool_output(layer: int, _: Any, args: Any, out: Any) -> None:
    asked = _POOLING.get()
    if asked is not None and layer in asked[0]:
        asked[2][layer] = asked[1].of(out if isinstance(out, Tensor) else out[0])


def response_logps(model: Any, batch: Batch, temperature: float = 1.0) -> Float[Tensor, "B S"]:
    """Return the log-probability of each response token at a temperature, float32, 0 where there is
    none."""
    inputs = {"input_ids": batch.ids} if batch.layout is None else batch.layout.inputs()
    logps = logps_at(model, inputs, batch.where, batch.targets, temperature)
    out = torch.zeros(batch.response_mask.shape, device=logps.device)
    return out.masked_scatter(batch.response_mask, logps)


def _attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    layout: Layout | None = None,
    **options: Any,
) -> tuple[Tensor, None]:
    """Attend along the layout's rows where there is one, else as "sdpa" does."""
    if layout is None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **options)
    return layout.attend(query, key, value, options.get("scaling")), None


AttentionInterface.register(_PACKED, _attention)
AttentionMaskInterface.register(_PACKED, sdpa_mask)


def attends_plainly(model: Any) -> bool:
    """Return whether every layer attends to all before it, with positions that are told to it."""
    config = text_config(model)
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    windows = {getattr(config, n, None) for n in ("sliding_window", "attention_chunk_size")}
    rotates = getattr(config, "rope_parameters", None) is not None
    biased = getattr(config, "alibi", False)
    return kinds == {"full_attention"} and windows == {None} and rotates and not biased


def enable_packing(model: Any) -> bool:
    """Prepare a model for packed rows; return whether it takes them."""
    config = model.config
    if config._attn_implementation == _PACKED:
        return True
    if not attends_plainly(model) or config._attn_implementation != "sdpa":
        return False
    model.set_attn_implementation(_PACKED)
    if _packs(model):
        return True
    model.set_attn_implementation("sdpa")
    warnings.warn(
        f"this {config.model_type} model's rows are not the same laid end to end; they are padded, "
        "which is slower",
        stacklevel=3,
    )
    return False


@torch.no_grad()
def _packs(model: Any) -> bool:
    """Return whether answers to one prompt and to another are as likely packed as padded."""
    source, most = torch.Generator().manual_seed(0), int(text_config(model).vocab_size)
    ids = torch.randint(most, (3, 24), generator=source).tolist()
    rows = [
        Encoded(ids[0], 10, 24),
        Encoded(ids[0][:10] + ids[1][:7], 10, 17),
        Encoded(ids[2][:12], 4, 12),
    ]
    device = torch.device(model.device)
    try:
        packed, padded = (
            response_logps(model, Batch.of(rows, device=device, packed=way))
            for way in (True, False)
        )
    except (TypeError, ValueError, RuntimeError):
        return False
    tolerance = 1e-3 if model.dtype == torch.float32 else 0.1
    return bool((packed - padded).abs().max() <= tolerance * padded.abs().max())


def row_batches(rows: Sequence[Encoded], *, max_tokens: int, packed: bool) -> list[np.ndarray]:
    """Group row numbers that go through a model together, longest first, at most `max_tokens` a
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
