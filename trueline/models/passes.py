"""One forward pass over a batch of rows: pooled latents, and log-probabilities of the responses.

    pooled = sum_t w_t h_lt,   w a pool's weights: one-hot, or 1/length over the response
    log p(token_t) = logits[t - 1, token_t] - logsumexp(logits[t - 1])   at response positions only

Latents are pooled by hooks while the pass runs, so that no layer's hidden states outlive it, and
the output head sees only the positions that predict a response token; it is never run over the
prompt. Rows of causal models are packed where the model allows it (`packing`); else they are
padded on the right and carry no attention mask: a real token cannot attend what comes after it, so
that pads are never seen (tests compare with the masked pass). Encoders attend both ways and get
their mask.

Shapes: B batch, T tokens, S response tokens, V vocabulary, L layers, P pools, D width.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from trueline.errors import SetupError
from trueline.models.packing import Layout, Packed
from trueline.models.products import quick_products
from trueline.models.tokens import Encoded

__all__ = [
    "Batch",
    "Collector",
    "Pools",
    "blocks_of",
    "can_pack",
    "encoder_pass",
    "logits_at",
    "response_logps",
]

_PACKS: WeakKeyDictionary[Any, bool] = WeakKeyDictionary()


@dataclass(frozen=True)
class Pools:
    """P weighted sums of tokens a row: the terms `weights[i] * hidden[tokens[i]]` of `sums[i]`."""

    tokens: Int[Tensor, " I"]
    sums: Int[Tensor, " I"]
    weights: Float[Tensor, " I"]
    shape: tuple[int, int]
    """B and P."""

    def of(self, hidden: Tensor) -> Float[Tensor, "B P D"]:
        """The pools of hidden states whose leading axes are the tokens; float32."""
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
    def of(
        cls,
        rows: Sequence[Encoded],
        *,
        device: torch.device,
        eval_pool: bool = False,
        packed: bool = False,
    ) -> Batch:
        """Pads are id 0, never seen."""
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
        lengths = torch.tensor([len(r.ids) for r in rows], device=device)
        counts, last = (stop - start)[:, 0], (stop - 1).clamp(min=0)[:, 0]
        slots = torch.arange(int(counts.max()), device=device)[None] < counts[:, None]
        before = (at >= start - 1) & (at < stop - 1)
        said = (at >= start) & (at < stop)
        return cls(
            ids=ids,
            lengths=lengths,
            response_mask=slots,
            where=places[before],
            targets=ids.reshape(-1)[places[said]],
            weights=_pools(places, said, last, lengths - 1 if eval_pool else None),
            layout=layout,
        )


def _pools(places: Tensor, said: Tensor, last: Tensor, ends: Tensor | None) -> Pools:
    """Pools last, mean and, with `ends`, eval; `places` [B, T] are the rows' tokens' flat ones,
    `said` which are the response's."""
    each, counts = torch.arange(len(places), device=places.device), said.sum(1)
    num = 2 if ends is None else 3
    spoken = said.nonzero()[:, 0]
    # The mean over no token is defined as the "last" pool: an empty response still has one.
    empty = (counts == 0).nonzero()[:, 0]
    tokens = [places[each, last], places[said], places[empty, last[empty]]]
    sums = [each * num, spoken * num + 1, empty * num + 1]
    ones = torch.ones(len(places), device=places.device)
    weights = [ones, 1.0 / counts[spoken], ones[empty]]
    if ends is not None:
        tokens.append(places[each, ends])
        sums.append(each * num + 2)
        weights.append(ones)
    return Pools(torch.cat(tokens), torch.cat(sums), torch.cat(weights), (len(places), num))


def blocks_of(model: Any) -> nn.ModuleList:
    """The model's list of blocks, which the layers are numbered by."""
    count = int(model.config.num_hidden_layers)
    for module in model.modules():
        if isinstance(module, nn.ModuleList) and len(module) == count:
            return module
    raise SetupError(
        "the trunk must keep its blocks in one list",
        got=f"{type(model).__name__} without a list of {count}",
    )


class Collector:
    """Pools the chosen layers of whatever `model` computes while `collecting` is open."""

    def __init__(self, model: Any, layers: Sequence[int]) -> None:
        self._layers = tuple(layers)
        self._blocks = blocks_of(model)
        self._base = model.base_model
        self._pooled: dict[int, Tensor] = {}

    @contextlib.contextmanager
    def collecting(self, weights: Pools) -> Iterator[None]:
        """Within this context every pass leaves its pooled layers to `take`."""

        def keep(layer: int, hidden: Tensor) -> None:
            self._pooled[layer] = weights.of(hidden)

        def before(_: Any, args: Any, kwargs: Any) -> None:
            keep(0, args[0] if args else kwargs["hidden_states"])

        handles = []
        for layer in self._layers:
            if layer == 0:
                handles.append(self._blocks[0].register_forward_pre_hook(before, with_kwargs=True))
                continue
            module = self._base if layer == len(self._blocks) else self._blocks[layer - 1]

            def after(_: Any, args: Any, out: Any, layer: int = layer) -> None:
                keep(layer, out if isinstance(out, Tensor) else out[0])

            handles.append(module.register_forward_hook(after))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def take(self) -> Float[Tensor, "B L P D"]:
        """The pools of the pass just made, float32."""
        pooled, self._pooled = self._pooled, {}
        return torch.stack([pooled[layer] for layer in self._layers], 1).float().cpu()


@contextlib.contextmanager
def logits_at(model: Any, where: Int[Tensor, " R"]) -> Iterator[None]:
    """Within this context the model's logits are [1, R, V]: only at the flat positions `where`.

    The head's input is cut, not its output, so that scaling and soft caps after it still apply.
    """

    def cut(_: Any, args: tuple[Tensor, ...]) -> tuple[Tensor]:
        hidden = args[0]
        return (hidden.reshape(-1, hidden.shape[-1])[where][None],)

    handle = model.get_output_embeddings().register_forward_pre_hook(cut)
    try:
        yield
    finally:
        handle.remove()


def response_logps(model: Any, batch: Batch) -> Float[Tensor, "B S"]:
    """Log-probability of each response token, float32, 0 where there is none; one pass."""
    layout = batch.layout
    inputs = {"input_ids": batch.ids} if layout is None else layout.inputs()
    with logits_at(model, batch.where), quick_products() if layout is None else Packed(layout):
        logits = model(**inputs, use_cache=False).logits[0].float()
    logps = -torch.nn.functional.cross_entropy(logits, batch.targets, reduction="none")
    out = torch.zeros(batch.response_mask.shape, device=logits.device)
    return out.masked_scatter(batch.response_mask, logps)


def can_pack(model: Any) -> bool:
    """Whether rows may be packed: plain causal attention with positions given, and, tried once,
    the log-probabilities of the rows as they are."""
    if model not in _PACKS:
        config = model.config
        kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
        windows = [
            getattr(config, name, None) for name in ("sliding_window", "attention_chunk_size")
        ]
        plain = kinds == {"full_attention"} and windows == [None, None]
        rotates = getattr(config, "rope_parameters", None) is not None
        sdpa = getattr(config, "_attn_implementation", None) == "sdpa"
        fits = plain and rotates and sdpa
        _PACKS[model] = fits and _packs(model)
        if fits and not _PACKS[model]:
            warnings.warn(
                f"this {config.model_type} model's rows are not the same laid end to end; they are "
                "padded, which is slower",
                stacklevel=3,
            )
    return _PACKS[model]


@torch.no_grad()
def _packs(model: Any) -> bool:
    """Whether two answers to one prompt and one to another are as likely packed as padded."""
    source, most = torch.Generator().manual_seed(0), int(model.config.vocab_size)
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


def encoder_pass(model: Any, batch: Batch) -> None:
    """Run an encoder over the batch, for its `Collector`'s sake."""
    mask = torch.arange(batch.ids.shape[1], device=batch.ids.device) < batch.lengths[:, None]
    with quick_products():
        model(input_ids=batch.ids, attention_mask=mask.long())
