"""A plain-torch decoder for checkpoints of the Llama family, on the loaded model's own weights.

    x += W_o attend(rotate(W_qkv norm(x)));   x += W_down(silu(W_gate norm(x)) * W_up norm(x))

Llama, Mistral, Qwen2 and Qwen3 (no sliding window; default, linear, llama3 or yarn rotation): RMS
norms, rotary positions, grouped queries, SwiGLU, biases, norms of queries and keys, tied heads.
A decoder is made for one call of `grow` and keeps nothing afterwards. What it copies: q, k and v
side by side, and W + (alpha / r) B A of every adapted matrix (Hu et al. 2021, arXiv 2106.09685);
for 2,048 tokens or more every matrix, in oneDNN's order. Models of more than 1 GiB are not copied:
there the adapter stays two thin products.

Where we differ from the model's own pass: (1) nothing is checked, hooked or recorded on the way;
(2) float32 products on a CPU go to oneDNN, which uses the vector units of every maker's processors.

A model it claims is compared with its own forward pass once; one that disagrees is warned about
and goes the other way (`forwards`). Shapes: N tokens, H heads, G key/value heads, E head width.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trueline.models.products import linear

__all__ = ["Decoder", "decoder_for"]

Attend = Callable[[int, Tensor, Tensor, Tensor], Tensor]
"""(block, queries [N, H, E], keys [N, G, E], values [N, G, E]) -> [N, H E]."""

Product = Callable[[Tensor], Tensor]
"""[N, D_in] -> [N, D_out]."""

_FAMILIES = frozenset({"llama", "mistral", "qwen2", "qwen3"})
_ROTATIONS = frozenset({"default", "linear", "llama3", "yarn"})
_COPY_BYTES = 2**30
_PACK_FROM = 2_048
_AGREES: WeakKeyDictionary[Any, bool] = WeakKeyDictionary()


def decoder_for(model: Any, num_tokens: int = 1) -> Decoder | None:
    """A decoder on the model's weights, for so many tokens to come; None for what it does not know
    or does not reproduce."""
    if not _is_known(model):
        return None
    decoder = Decoder(model, num_tokens)
    if model not in _AGREES:
        _AGREES[model] = _agrees(decoder, model)
        if not _AGREES[model]:
            warnings.warn(
                f"the fast decoder does not reproduce this {model.config.model_type} model's "
                "logits; sampling goes through its own forward pass, several times slower",
                stacklevel=3,
            )
    return decoder if _AGREES[model] else None


class Decoder:
    """The weights of one call, laid out for decoding."""

    def __init__(self, model: Any, num_tokens: int = 1) -> None:
        config, core = model.config, model.model
        self.num_heads = int(config.num_attention_heads)
        self.num_groups = int(config.num_key_value_heads)
        self.head_dim = _head_dim(config)
        self.eps = float(config.rms_norm_eps)
        self.embedding = core.embed_tokens.weight
        self.norm = core.norm.weight
        self.rotary = core.rotary_emb
        make = _thin
        if sum(p.nbytes for p in model.parameters()) <= _COPY_BYTES:
            make = _packed if num_tokens >= _PACK_FROM and _packs(self.embedding) else _merged
        self.head = make([model.lm_head])
        self.blocks = [self._block(layer, make) for layer in core.layers]

    def _block(self, layer: Any, make: Callable[[list[Any]], Product]) -> _Block:
        attention, mlp = layer.self_attn, layer.mlp
        turned_norm = None
        if hasattr(attention, "q_norm"):
            queries, keys = attention.q_norm.weight, attention.k_norm.weight
            rows = [queries.expand(self.num_heads, -1), keys.expand(self.num_groups, -1)]
            turned_norm = torch.cat(rows)
        return _Block(
            norm=layer.input_layernorm.weight,
            qkv=make([attention.q_proj, attention.k_proj, attention.v_proj]),
            turned_norm=turned_norm,
            out=make([attention.o_proj]),
            mlp_norm=layer.post_attention_layernorm.weight,
            gate=make([mlp.gate_proj]),
            up=make([mlp.up_proj]),
            down=make([mlp.down_proj]),
        )

    def rotation(self, num_tokens: int) -> tuple[Tensor, Tensor]:
        """cos and signed sin of positions 0, 1, …, each [num_tokens, 1, E]."""
        at = torch.arange(num_tokens, device=self.embedding.device)
        cos, sin = self.rotary(self.embedding[:1], at[None])
        half = self.head_dim // 2
        signed = torch.cat([-sin[0, :, :half], sin[0, :, half:]], -1)
        return cos[0][:, None], signed[:, None]

    def hidden(self, ids: Tensor, cos: Tensor, sin: Tensor, attend: Attend) -> Tensor:
        """Tokens [N] and their rotation [N, 1, E] through all blocks; [N, D], before the norm."""
        x = F.embedding(ids, self.embedding)
        for i, block in enumerate(self.blocks):
            heads = block.qkv(self._normed(x, block.norm)).view(len(ids), -1, self.head_dim)
            turned, values = heads[:, : -self.num_groups], heads[:, -self.num_groups :]
            if block.turned_norm is not None:
                turned = self._normed(turned, None) * block.turned_norm
            turned = torch.addcmul(turned * cos, turned.roll(self.head_dim // 2, -1), sin)
            queries, keys = turned[:, : self.num_heads], turned[:, self.num_heads :]
            x = block.out(attend(i, queries, keys, values)).add_(x)
            normed = self._normed(x, block.mlp_norm)
            x = block.down(F.silu(block.gate(normed)).mul_(block.up(normed))).add_(x)
        return x

    def prefill(self, ids: Tensor, keep: Callable[[int, Tensor, Tensor], None]) -> Tensor:
        """Prompts [B, T], padded on the right; [B, T, D]. `keep` gets each block's keys, values
        [B, G, T, E]."""
        size, length = ids.shape

        def attend(i: int, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
            q, k, v = (
                x.reshape(size, length, -1, self.head_dim).transpose(1, 2)
                for x in (queries, keys, values)
            )
            keep(i, k, v)
            grouped = self.num_heads != self.num_groups
            out = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=grouped)
            return out.transpose(1, 2).reshape(size * length, -1)

        cos, sin = (table.repeat(size, 1, 1) for table in self.rotation(length))
        return self.hidden(ids.reshape(-1), cos, sin, attend).view(size, length, -1)

    def logits(self, hidden: Tensor) -> Tensor:
        """[N, V] of the last block's output [N, D]."""
        return self.head(self._normed(hidden, self.norm))

    def _normed(self, x: Tensor, weight: Tensor | None) -> Tensor:
        return F.rms_norm(x, x.shape[-1:], weight, self.eps)


@dataclass(frozen=True, slots=True)
class _Block:
    norm: Tensor
    qkv: Product
    turned_norm: Tensor | None
    """[H + G, E], of queries and keys."""
    out: Product
    mlp_norm: Tensor
    gate: Product
    up: Product
    down: Product


def _merged(modules: list[Any]) -> Product:
    """x -> x W' + b of linear maps side by side, with their adapters."""
    weight, bias = _side_by_side(modules)
    return lambda x: linear(x, weight, bias)


def _packed(modules: list[Any]) -> Product:
    """The same, with the weight in the order in which oneDNN reads it."""
    weight, bias = _side_by_side(modules)
    packed = torch.ops.mkldnn._reorder_linear_weight(weight.detach(), 32)
    return lambda x: linear(x, packed, bias)


def _thin(modules: list[Any]) -> Product:
    """The same without a copy of any weight."""
    parts = [(_base(module), _adapters(module)) for module in modules]

    def apply(x: Tensor) -> Tensor:
        found = []
        for base, adapters in parts:
            found.append(linear(x, base.weight, base.bias))
            for a, b, scale in adapters:
                found[-1] += linear(linear(x.to(a.dtype), a), b) * scale
        return found[0] if len(found) == 1 else torch.cat(found, -1)

    return apply


def _side_by_side(modules: list[Any]) -> tuple[Tensor, Tensor | None]:
    """W + (alpha / r) B A and b, of several maps one below the other; no copy of what is whole."""
    weights, biases = [], [_base(module).bias for module in modules]
    for module in modules:
        weight = _base(module).weight
        for a, b, scale in _adapters(module):
            weight = torch.addmm(weight.to(a.dtype), b, a, alpha=scale).to(weight.dtype)
        weights.append(weight)
    if len(modules) == 1:
        return weights[0], biases[0]
    return torch.cat(weights), None if biases[0] is None else torch.cat(biases)


@functools.cache
def _packs_float32() -> bool:
    """Whether this torch has oneDNN's order, and it is right."""
    x, weight = torch.linspace(-1, 1, 60).view(4, 15), torch.linspace(-2, 1, 45).view(3, 15)
    try:
        packed = torch.ops.mkldnn._reorder_linear_weight(weight, 32)
        return torch.allclose(linear(x, packed), x @ weight.t(), atol=1e-4)
    except (AttributeError, RuntimeError, NotImplementedError):
        return False


def _packs(weight: Tensor) -> bool:
    return weight.device.type == "cpu" and weight.dtype == torch.float32 and _packs_float32()


def _base(module: Any) -> Any:
    return getattr(module, "base_layer", module)


def _adapters(module: Any) -> list[tuple[Tensor, Tensor, float]]:
    """(A, B, alpha / r) of each adapter at work on a linear map."""
    if not hasattr(module, "lora_A") or module.disable_adapters:
        return []
    return [
        (module.lora_A[name].weight, module.lora_B[name].weight, float(module.scaling[name]))
        for name in module.active_adapters
        if name in module.lora_A
    ]


def _is_known(model: Any) -> bool:
    """Whether every part of it is one this decoder has."""
    config: Any = getattr(model, "config", None)
    if getattr(config, "model_type", None) not in _FAMILIES:
        return False
    core = model.model
    turns = getattr(core.rotary_emb, "rope_type", None) in _ROTATIONS
    slides = getattr(config, "sliding_window", None) is not None
    whole = core.rotary_emb.inv_freq.numel() * 2 == _head_dim(config)
    maps = [m for layer in core.layers for m in layer.modules() if hasattr(m, "in_features")]
    plain = all(_is_plain(module) for module in (model.lm_head, *maps))
    together = {p.device for p in model.parameters()} == {torch.device(model.device)}
    silu = config.hidden_act == "silu"
    return turns and whole and plain and together and silu and not slides


def _is_plain(module: Any) -> bool:
    """A linear map, with or without LoRA of the plain kind, not merged by anybody else."""
    # Quantised maps bring a forward of their own; parted ones (FSDP2) do not.
    if getattr(type(_base(module)), "forward", None) is not nn.Linear.forward:
        return False
    if not hasattr(module, "lora_A"):
        return module is _base(module)
    return not (module.merged or module.lora_variant or any(module.lora_bias.values()))


def _head_dim(config: Any) -> int:
    given = getattr(config, "head_dim", None)
    return int(given or config.hidden_size // config.num_attention_heads)


def _agrees(decoder: Decoder, model: Any) -> bool:
    """Whether it gives the model's logits on two rows of sixteen tokens."""
    source = torch.Generator().manual_seed(0)
    vocabulary = len(decoder.embedding)
    ids = torch.randint(vocabulary, (2, 16), generator=source).to(model.device)
    theirs = model(input_ids=ids, use_cache=False).logits.float()
    hidden = decoder.prefill(ids, lambda i, keys, values: None)
    ours = decoder.logits(hidden.flatten(0, 1)).view_as(theirs).float()
    tolerance = 1e-3 if decoder.embedding.dtype == torch.float32 else 0.1
    return bool((ours - theirs).abs().max() <= tolerance * theirs.abs().max())
