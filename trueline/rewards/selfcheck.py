"""The faults that have silently ruined other people's reward models, looked for before training.

    batch      a row read alone and beside others gives the same reading
    order      nor does it depend on the order of the rows
    padding    nor on the tokenizer's padding side, nor on pad being the end token
    constant   different texts give different readings (and different scores)
    frozen     the trunk is, bit for bit, what it was before (only where weights can be hashed)
    reload     a saved reward scores as the one in memory (where one is given)

Each is a bug someone shipped: scores by batch size (reward-bench#137), pooling at the wrong token
and pad == eos (transformers#35352, #35911), all scores about 0.50003 after a loader change
(its_hub#215). A cache would hide the first four, so a real trunk is read through a copy without
one. At most 8 texts are read: well under a second on a small trunk.

Raises `InvalidExperiment` if any check fails; returns what each one found otherwise.
"""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from trueline.errors import InputError, InvalidExperiment
from trueline.models.reading import Readings
from trueline.records import Response
from trueline.rewards.protocols import Fitted
from trueline.rewards.saved import load_reward

__all__ = ["TOLERANCE", "selfcheck"]

TOLERANCE = 1e-3
"""Largest difference that rounding may make, relative to the reading's own size."""
MAX_TEXTS = 8


def selfcheck(
    trunk: Any, responses: Sequence[Response], *, reward: Fitted | None = None
) -> list[dict[str, Any]]:
    """Check a trunk (and a reward on it) on a few responses: `{name, passed, detail}` each."""
    texts = list({r.key: r for r in responses}.values())[:MAX_TEXTS]
    if not texts:
        raise InputError("a self-check needs at least one response", got="none")
    plain = _uncached(trunk)
    together = plain.read(texts)
    checks: list[tuple[str, Callable[[], tuple[bool, str]]]] = [
        ("batch", lambda: _same(together, Readings.concat([plain.read([t]) for t in texts]))),
        ("order", lambda: _same(together, plain.read(texts[::-1]))),
        ("padding", lambda: _same(together, _uncached(trunk, swap_padding=True).read(texts))),
        ("constant", lambda: _varies(together)),
        ("frozen", lambda: (trunk.verify_frozen() == together.trunk, "weights hashed again")),
    ]
    if reward is not None:
        checks.append(("scores", lambda: _scores_vary(reward, together)))
        checks.append(("reload", lambda: _reloads(reward, trunk, together)))
    found = []
    for name, check in checks:
        passed, detail = check()
        found.append({"name": name, "passed": bool(passed), "detail": detail})
    failed = [f"{c['name']} ({c['detail']})" for c in found if not c["passed"]]
    if failed:
        raise InvalidExperiment(
            "trunk and reward must pass the self-check before anything is trained on them",
            got="failed: " + ", ".join(failed),
            do="see the docstring of trueline.rewards.selfcheck for what each check means",
        )
    return found


def _uncached(trunk: Any, *, swap_padding: bool = False) -> Any:
    """The same model read without a cache; a fake, which has no tokenizer, as it is."""
    if not hasattr(trunk, "codec"):
        return trunk
    tokenizer = trunk.codec.tokenizer
    if swap_padding:
        tokenizer = copy.deepcopy(tokenizer)
        tokenizer.padding_side = "left" if tokenizer.padding_side == "right" else "right"
        if tokenizer.eos_token is not None:
            tokenizer.pad_token = tokenizer.eos_token
    return type(trunk)(
        trunk.model,
        tokenizer,
        is_encoder=trunk.is_encoder,
        layers=trunk.layers,
        batch_tokens=trunk.batch_tokens,
    )


def _same(first: Readings, second: Readings) -> tuple[bool, str]:
    at = second.rows(first.keys)
    worst = _gap(first.latents, second.latents[at])
    if first.surprisals is not None and second.surprisals is not None:
        worst = max(worst, _gap(first.surprisals, second.surprisals[at]))
    return worst <= TOLERANCE, f"largest difference {worst:.1e} of the readings' size"


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


def _scores_vary(reward: Fitted, readings: Readings) -> tuple[bool, str]:
    scores = reward.score(readings)
    known = scores.mean[scores.scored]
    if len(known) < 2:
        return True, f"not tested: {len(known)} scored"
    spread = float(np.ptp(known))
    return spread > 1e-9, f"scores spread over {spread:.1e}"


def _reloads(reward: Fitted, trunk: Any, readings: Readings) -> tuple[bool, str]:
    with tempfile.TemporaryDirectory() as place:
        reward.save(Path(place) / "reward")
        again = load_reward(Path(place) / "reward", trunk).score(readings)
    now = reward.score(readings)
    columns = ("mean", "std", "lower", "novelty", "scored")
    equal = all(np.array_equal(getattr(now, c), getattr(again, c)) for c in columns)
    return equal, "scores after saving and loading"
