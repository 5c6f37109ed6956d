"""One forward pass over a padded batch: pooled latents, and log-probabilities of the responses.

    pooled = W h_l,   W [B, P, T] one row a pool (one-hot, or 1/length over the response)
    log p(token_t) = logits[t - 1, token_t] - logsumexp(logits[t - 1])   at response positions only

Latents are pooled by hooks while the pass runs, so that no layer's hidden states outlive it, and
the output head sees only the positions that predict a response token; it is never run over the
prompt. Causal batches are padded on the right and carry no attention mask: a real token cannot
attend what comes after it, so that pads are never seen (a test compares with the masked pass).
Encoders attend both ways and get their mask.

Shapes: B batch, T tokens, S response tokens, V vocabulary, L layers, P pools, D width.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from trueline.errors import SetupError
from trueline.models.tokens import Encoded

__all__ = ["Batch", "Collector", "blocks_of", "encoder_pass", "logits_at", "response_logps"]


@dataclass(frozen=True)
class Batch:
    """Right-padded rows. `where` [R] are flat positions, row by row, that predict `targets` [R]."""

    ids: Int[Tensor, "B T"]
    lengths: Int[Tensor, " B"]
    response_mask: Bool[Tensor, "B S"]
    """Which of the S response slots are filled."""
    where: Int[Tensor, " R"]
    targets: Int[Tensor, " R"]
    weights: Float[Tensor, "B P T"]
    """How the pools weigh the tokens."""

    @classmethod
    def of(
        cls,
        rows: Sequence[Encoded],
        *,
        device: torch.device,
        eval_pool: bool = False,
    ) -> Batch:
        """Pads are id 0, never seen."""
        longest = max(len(r.ids) for r in rows)
        ids = torch.tensor([r.ids + [0] * (longest - len(r.ids)) for r in rows])
        lengths = torch.tensor([len(r.ids) for r in rows])
        start = torch.tensor([r.start for r in rows])[:, None]
        stop = torch.tensor([r.stop for r in rows])[:, None]
        at = torch.arange(longest)[None]
        span = (at >= start) & (at < stop)
        final = (stop - 1).clamp(min=0)
        last = at == final
        # The mean over no token is defined as the "last" pool: an empty response still has one.
        counts = span.sum(1, keepdim=True)
        mean = torch.where(counts > 0, span / counts.clamp(min=1), last.float())
        pools = [last.float(), mean]
        if eval_pool:
            pools.append((at == lengths[:, None] - 1).float())
        counts = counts[:, 0]
        slots = torch.arange(int(counts.max()))[None] < counts[:, None]
        flat = span.reshape(-1).nonzero()[:, 0]
        return cls(
            ids=ids.to(device),
            lengths=lengths.to(device),
            response_mask=slots.to(device),
            where=(flat - 1).to(device),
            targets=ids.reshape(-1)[flat].to(device),
            weights=torch.stack(pools, 1).to(device),
        )


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
    def collecting(self, weights: Tensor) -> Iterator[None]:
        """Within this context every pass leaves its pooled layers to `take`."""

        def keep(layer: int, hidden: Tensor) -> None:
            self._pooled[layer] = torch.bmm(weights, hidden.to(weights.dtype))

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
    with logits_at(model, batch.where):
        logits = model(input_ids=batch.ids, use_cache=False).logits[0].float()
    logps = -torch.nn.functional.cross_entropy(logits, batch.targets, reduction="none")
    out = torch.zeros(batch.response_mask.shape, device=logits.device)
    return out.masked_scatter(batch.response_mask, logps)


def encoder_pass(model: Any, batch: Batch) -> None:
    """Run an encoder over the batch, for its `Collector`'s sake."""
    mask = torch.arange(batch.ids.shape[1], device=batch.ids.device) < batch.lengths[:, None]
    model(input_ids=batch.ids, attention_mask=mask.long())
