"""The faults that have silently ruined other people's reward models, looked for before training.

    batch      a row read alone and beside others gives the same reading
    order      nor does it depend on the order of the rows
    padding    nor on the tokenizer's padding side, nor on pad being the end token
    constant   different texts give different readings
    frozen     the trunk is, bit for bit, what it was before (only where weights can be hashed)

Each is a bug someone shipped: scores by batch size (reward-bench#137), pooling at the wrong token
and pad == eos (transformers#35352, #35911), all scores about 0.50003 after a loader change
(its_hub#215). A cache would hide the first four, so a real trunk is read through a copy without
one. At most 8 texts are read: well under a second on a small trunk.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np

from trueline.errors import InputError, InvalidExperiment
from trueline.models.reading import Readings
from trueline.records import Response

__all__ = ["TOLERANCE", "selfcheck"]

TOLERANCE = 1e-3
"""Largest difference that rounding may make, relative to the reading's own size, in float32."""
HALVES = {"bfloat16": 0.25, "float16": 0.06}
"""The same, of trunks of 16 bits (SmolLM2-135M: 0.07): what is read wrongly differs by about 1."""
MAX_TEXTS = 8


def selfcheck(trunk: Any, responses: Sequence[Response]) -> dict[str, str]:
    """Check a trunk on a few responses: return what was found by name of the check;
    `InvalidExperiment` where one failed."""
    texts = list({r.key: r for r in responses}.values())[:MAX_TEXTS]
    if not texts:
        raise InputError("a self-check needs at least one response", got="none")
    plain, most = _uncached(trunk), HALVES.get(getattr(trunk, "dtype", ""), TOLERANCE)
    together = plain.read(texts)
    results = {
        "batch": _same(together, Readings.concat([plain.read([t]) for t in texts]), most),
        "order": _same(together, plain.read(texts[::-1]), most),
        "padding": _same(together, _uncached(trunk, swap_padding=True).read(texts), most),
        "constant": _varies(together),
        "frozen": (trunk.verify_frozen() == together.trunk, "weights hashed again"),
    }
    failed = [f"{name} ({detail})" for name, (passed, detail) in results.items() if not passed]
    if failed:
        raise InvalidExperiment(
            "a trunk must pass the self-check before anything is trained on it",
            got="failed: " + ", ".join(failed),
            do="see the docstring of trueline.rewards.selfcheck for what each check means",
        )
    return {name: detail for name, (_, detail) in results.items()}


def _uncached(trunk: Any, *, swap_padding: bool = False) -> Any:
    """The same model read without a cache; a fake, which has no tokenizer, as it is."""
    if not hasattr(trunk, "codec"):
        return trunk
    tokenizer = trunk.codec.tokenizer
    if swap_padding:
        tokenizer = copy.deepcopy(tokenizer)
        tokenizer.padding_side = "left" if tokenizer.padding_side == "right" else "right"
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.pad_token
    plain = {name: getattr(trunk, name) for name in ("is_encoder", "layers", "batch_tokens")}
    return type(trunk)(trunk.model, tokenizer, cache_dir=None, **plain)


def _same(first: Readings, second: Readings, most: float) -> tuple[bool, str]:
    at = second.rows(first.keys)
    worst = _gap(first.latents, second.latents[at])
    if first.surprisals is not None and second.surprisals is not None:
        worst = max(worst, _gap(first.surprisals, second.surprisals[at]))
    return worst <= most, f"largest difference {worst:.1e} of the readings' size"


def _gap(a: np.ndarray, b: np.ndarray) -> float:
    # Per layer and pool (or column): one layer's outsized latents must not excuse the others.
    size = np.maximum(np.abs(a).max(axis=(0, -1) if a.ndim > 2 else 0, keepdims=True), 1e-6)
    gap = np.max(np.abs(a - b) / size)
    return float(gap) if np.isfinite(gap) else float("inf")


def _varies(readings: Readings) -> tuple[bool, str]:
    if len(readings) < 2:
        return True, "not tested: one response only"
    spread = float(np.asarray(readings.latents[:, -1], dtype=np.float64).std(0).max())
    return spread > 1e-6, f"largest standard deviation of a last-layer latent {spread:.1e}"
