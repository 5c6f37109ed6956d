"""Sample completions with their log-probabilities, many rows side by side, token by token.

    token = F^-1(u),  F the cumulative softmax(logits / temperature),  u ~ U[0, 1) drawn beforehand

With `top_p` below 1, F is that of the likeliest tokens that hold so much of the probability
together (Holtzman et al. 2020, arXiv 1904.09751); a log-probability is still that of the
temperature alone, of the whole vocabulary.

Every sample has its own row of uniforms, so that what it says does not depend on the batch it is in
(up to rounding of the logits). Prompts are sorted by length and padded on the right, or on the left
where pads in between would count; a prompt's cache is computed once and repeated for its K samples.
Rows that have ended are dropped once they are a quarter, in eights.

Shapes: B prompts, K samples of each, N = B K, R rows alive, M tokens at most, V vocabulary. Units:
nats.
Fails for models that take no `DynamicCache` (`families.check_sampling`), and where a prompt leaves
no room: `max_new_tokens` must be below the model's positions.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from functools import partial
from itertools import product
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from trueline.errors import InputError
from trueline.models.chat_format import Codec
from trueline.models.distributed import whole
from trueline.models.forward import attends_plainly
from trueline.models.loading import text_config
from trueline.models.logits import logits_at
from trueline.models.rollouts import Completion
from trueline.models.unfinished import Tensors
from trueline.progress import Stage, stage

__all__ = ["complete", "end_ids", "generate"]

MAX_ROWS = 512
"""Most rows side by side."""
_CACHE_BYTES = 2**29
_EIGHT = 8
_BLOCK = 256
_SPARE = 32
"""Slots by which a KV cache outgrows its tokens, so that most tokens copy nothing."""


def complete(
    model: Any,
    codec: Codec,
    token_prefixes: Sequence[list[int]],
    *,
    max_new_tokens: int,
    rng: np.random.Generator | None = None,
) -> list[list[int]]:
    """Continue raw token prefixes up to an end token (left out): greedily, or sampled by `rng`."""
    if not token_prefixes:
        return []
    room = codec.max_tokens - max_new_tokens
    if room < 1:
        must = f"max_new_tokens must be below the trunk's {codec.max_tokens} positions"
        raise InputError(must, got=str(max_new_tokens))
    shape = (len(token_prefixes), 1, max_new_tokens)
    with whole(model):
        completions = generate(
            model,
            [(ids or [codec.first_id])[-room:] for ids in token_prefixes],
            uniforms=np.zeros(shape) if rng is None else rng.random(shape),
            temperature=0.0 if rng is None else 1.0,
            stop_ids=end_ids(model, codec),
        )
    return [row[0].ids for row in completions]


def end_ids(model: Any, codec: Codec) -> frozenset[int]:
    """Return what ends an answer: the token that the chat template ends it with (without a template
    the tokenizer's end token), and those of the model's generation config."""
    own = getattr(getattr(model, "generation_config", None), "eos_token_id", None)
    listed = own if isinstance(own, list) else [own]
    return frozenset(int(i) for i in (*listed, codec.end_id) if i is not None)


@torch.inference_mode()
def generate(
    model: Any,
    prefixes: Sequence[list[int]],
    *,
    uniforms: np.ndarray,
    stop_ids: AbstractSet[int],
    temperature: float = 1.0,
    top_p: float = 1.0,
    recall: Callable[..., Tensors] | None = None,
) -> list[list[Completion]]:
    """Return K completions of each of B prefixes, at most M tokens long; `uniforms` is [B, K, M].

    At temperature 0 the likeliest token is taken and `logp` is that of temperature 1. `recall`
    (`Unfinished.recall`) makes a batch, or gives what a killed run made of it.
    """
    _, num_samples, room = uniforms.shape
    if not prefixes:
        return []
    rows = _num_rows(model, max(len(ids) for ids in prefixes) + room)
    width = min(num_samples, rows)
    size = max(1, rows // width)
    order = sorted(range(len(prefixes)), key=lambda b: (len(prefixes[b]), b))
    out: list[list[Completion]] = [[] for _ in prefixes]
    places = list(product(range(0, num_samples, width), range(0, len(order), size)))
    with stage("sampling tokens", len(places) * room) as told:
        for number, (k, i) in enumerate(places):
            chosen = order[i : i + size]
            batch = _Batch(model, uniforms[np.array(chosen), k : k + width], stop_ids)
            asked = [prefixes[b] for b in chosen]
            sample = partial(batch.sample, asked, temperature, top_p, told)
            how = [asked, temperature, top_p, sorted(stop_ids)]
            tables = sample() if recall is None else recall(sample, how, batch.uniforms)
            for j, completion in enumerate(_completions(**tables)):
                out[chosen[j // batch.width]].append(completion)
            told.begin(told.what, (number + 1) * room)
    return out


def _num_rows(model: Any, num_tokens: int) -> int:
    """Return how many rows of so many tokens go side by side: what fits into 512 MB of keys and
    values, or into the size of the weights if that is more."""
    config = text_config(model)
    most = getattr(config, "num_attention_heads", None) or 1
    heads = getattr(config, "num_key_value_heads", None) or most
    width = getattr(config, "head_dim", None) or config.hidden_size // most
    per_token = 2 * config.num_hidden_layers * heads * width * model.dtype.itemsize
    num_bytes = max(_CACHE_BYTES, sum(p.nbytes for p in model.parameters()))
    return int(min(MAX_ROWS, max(1, num_bytes // per_token // num_tokens)))


class _Batch:
    """One batch of rows: tables [M, R] of what was sampled, the first rows still going on."""

    def __init__(self, model: Any, uniforms: np.ndarray, stop_ids: AbstractSet[int]) -> None:
        _, self.width, self.room = uniforms.shape
        device = torch.device(model.device)
        columns = np.ascontiguousarray(uniforms.reshape(-1, self.room).T)
        self.forward = _CachedForward(model)
        self.uniforms = torch.from_numpy(columns).to(device)
        self.stops = torch.tensor(sorted(stop_ids), dtype=torch.long, device=device)
        self.ids = torch.zeros(columns.shape, dtype=torch.long, device=device)
        self.logps = torch.zeros(columns.shape, dtype=torch.float64, device=device)
        self.row_of = torch.arange(columns.shape[1], device=device)
        """Which of the batch's rows each column holds, since columns move."""
        self.alive = torch.ones(columns.shape[1], dtype=torch.bool, device=device)

    def sample(
        self, prefixes: list[list[int]], temperature: float, top_p: float, told: Stage
    ) -> Tensors:
        """Return what each row came to: tokens and log-probabilities [R, M], and how many tokens
        stand before the first stop token, which there may be none of."""
        self._run(prefixes, temperature, top_p, told)
        back = self.row_of.argsort()
        ids, logps = self.ids[:, back].T.cpu(), self.logps[:, back].T.cpu()
        is_stop = torch.isin(ids, self.stops.cpu())
        ended = is_stop.any(1)
        lengths = torch.where(ended, is_stop.int().argmax(1), self.room)
        return {"ids": ids, "logps": logps, "lengths": lengths, "ended": ended}

    def _run(
        self, prefixes: list[list[int]], temperature: float, top_p: float, told: Stage
    ) -> None:
        logits = self.forward.prefill(prefixes, self.width)
        for step in range(self.room):
            told.advance()
            # In place, and not normalised: passes over [R, V] cost what a layer does.
            weights = logits.float().div_(temperature or 1.0)
            likeliest = None if temperature else weights.argmax(-1)
            weights.sub_(weights.amax(-1, keepdim=True)).exp_()
            rows = len(weights)
            drawn, total = self._draw(weights, step, top_p)
            tokens = drawn if likeliest is None else likeliest
            self.ids[step, :rows] = tokens
            self.logps[step, :rows] = (weights.gather(1, tokens[:, None]) / total).log()[:, 0]
            if step + 1 == self.room:
                return
            if len(self.stops):
                self.alive &= (tokens[:, None] != self.stops).all(1)
                num_alive = int(self.alive.sum())
                if num_alive == 0:
                    return
                kept = min(rows, -(-num_alive // _EIGHT) * _EIGHT)
                if kept <= 0.75 * rows:
                    tokens = self._drop(tokens, kept)
            logits = self.forward.step(tokens)

    def _draw(self, weights: Tensor, step: int, top_p: float) -> tuple[Tensor, Tensor]:
        """Return a token [R] by its weight [R, V], and the sum [R, 1] of all weights. A row's block
        of tokens is found first, then the token in it: most sums are of blocks."""
        blocks = _blocks(weights)
        ends = blocks.sum(-1).double().cumsum(-1)
        total = ends[:, -1:].clone()
        if top_p < 1:
            blocks = _blocks(_nucleus(weights / total, top_p))
            ends = blocks.sum(-1).double().cumsum(-1)
        u = self.uniforms[step, : len(weights), None] * ends[:, -1:]
        block = torch.searchsorted(ends, u, right=True).clamp_(max=ends.shape[-1] - 1)
        inside = blocks.gather(1, block[..., None].expand(-1, 1, _BLOCK))[:, 0].double().cumsum(-1)
        # Never below 0: there a token of no weight might stand.
        u = (u - ends.gather(1, block) + inside[:, -1:]).clamp_(min=0)
        drawn = block * _BLOCK + torch.searchsorted(inside, u, right=True)
        return drawn[:, 0].clamp_(max=weights.shape[-1] - 1), total

    def _drop(self, tokens: Tensor, num: int) -> Tensor:
        """Move the `num` rows that go on, the living ones first, into the first columns."""
        order = torch.argsort(~self.alive, stable=True)
        kept, self.alive = order[:num], self.alive[order[:num]]
        self.forward.keep(kept)
        for table in (self.ids, self.logps, self.uniforms):
            table[:, : len(order)] = table[:, order]
        self.row_of[: len(order)] = self.row_of[order]
        return tokens[kept]


def _completions(ids: Tensor, logps: Tensor, lengths: Tensor, ended: Tensor) -> list[Completion]:
    """Return each row's tokens up to its first stop; what came after it is left out."""
    rows = zip(ids.tolist(), logps.numpy(), lengths.tolist(), ended.tolist(), strict=True)
    return [
        Completion(row[:n], values[: n + end], row[n] if end else None)
        for row, values, n, end in rows
    ]


def _nucleus(probabilities: Tensor, top_p: float) -> Tensor:
    """Return probabilities [R, V] with 0 for all but the likeliest that hold `top_p` together."""
    ordered, order = probabilities.sort(-1, descending=True)
    # A token stays if those above it do not hold as much already: the likeliest always does.
    beyond = ordered.cumsum(-1, dtype=torch.float64) - ordered >= top_p
    return torch.zeros_like(ordered).scatter_(-1, order, ordered.masked_fill(beyond, 0.0))


def _blocks(weights: Tensor) -> Tensor:
    padded = torch.nn.functional.pad(weights, (0, -weights.shape[-1] % _BLOCK))
    return padded.view(len(weights), -1, _BLOCK)


class _CachedForward:
    """The model's forward pass with the KV cache, positions and mask of one batch of rows."""

    def __init__(self, model: Any) -> None:
        self.model = model
        takes = inspect.signature(model.forward).parameters
        self.places = "position_ids" in takes
        self.cache_name = "past_key_values" if "past_key_values" in takes else "cache_params"
        self.left = not attends_plainly(model)
        """Whether pads stand on the left: windows, biases and states must not run over them."""

    def prefill(self, prefixes: list[list[int]], width: int) -> Tensor:
        """Take in B prompts, `width` rows of each; return the logits [R, V] after them."""
        device = self.model.device
        longest = max(len(ids) for ids in prefixes)
        pads = [[0] * (longest - len(ids)) for ids in prefixes]
        sides = zip(pads, prefixes, strict=True)
        padded = [pad + ids if self.left else ids + pad for pad, ids in sides]
        lengths = torch.tensor([len(ids) for ids in prefixes], device=device)
        cache = DynamicCache(config=self.model.config)
        cache.layers = [
            _RoomyLayer() if type(layer) is DynamicLayer else layer  # type: ignore[no-untyped-call]
            for layer in cache.layers
        ]
        self.cache: Any = cache
        inputs: dict[str, Any] = {"input_ids": torch.tensor(padded, device=device)}
        last = torch.arange(len(padded), device=device) * longest + lengths - 1
        # Pads stay in the cache: those on the right are masked from the first step on.
        self.mask: Tensor | None = None
        if int(lengths.min()) < longest:
            at = torch.arange(longest, device=device)
            self.mask = at < lengths[:, None]
            if self.left:
                self.mask = at >= longest - lengths[:, None]
                last += longest - lengths
                inputs["attention_mask"] = self.mask.long()
                if self.places:
                    inputs["position_ids"] = (self.mask.cumsum(1) - 1).clamp(min=0)
        with logits_at(self.model, last):
            logits = self.model(**inputs, **{self.cache_name: cache}, use_cache=True).logits[0]
        each = torch.arange(len(padded), device=device).repeat_interleave(width)
        if width > 1:
            cache.reorder_cache(each)  # type: ignore[arg-type]
        self.positions = lengths[each]
        self.mask = None if self.mask is None else self.mask[each]
        return torch.as_tensor(logits[each])

    def step(self, tokens: Tensor) -> Tensor:
        """Feed one token a row; return the logits [R, V] after it."""
        if self.mask is not None:
            self.mask = torch.cat([self.mask, self.mask.new_ones(len(tokens), 1)], 1)
        inputs = {"input_ids": tokens[:, None], self.cache_name: self.cache}
        # A state without keys has left the pads behind.
        if self.cache_name == "past_key_values":
            inputs["attention_mask"] = self.mask
        if self.places:
            inputs["position_ids"] = self.positions[:, None]
        out = self.model(**inputs, use_cache=True)
        self.positions = self.positions + 1
        return torch.as_tensor(out.logits[:, -1])

    def keep(self, rows: Tensor) -> None:
        """Go on with these rows only."""
        self.positions = self.positions[rows]
        self.cache.reorder_cache(rows)
        if self.mask is not None:
            self.mask = self.mask[rows]


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
            room = (0, 0, 0, end + _SPARE - self._buffers[0].shape[2])
            self._buffers = [torch.nn.functional.pad(buffer, room) for buffer in self._buffers]
        self._buffers[0][:, :, self._used : end] = key_states
        self._buffers[1][:, :, self._used : end] = value_states
        self._used = end
        self.keys, self.values = (buffer[:, :, :end] for buffer in self._buffers)
        return self.keys, self.values

    def reorder_cache(self, beam_idx: Tensor) -> None:
        self._buffers = [buffer.index_select(0, beam_idx) for buffer in self._buffers]
        self.keys, self.values = (buffer[:, :, : self._used] for buffer in self._buffers)
