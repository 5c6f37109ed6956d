"""One seed, many named and independent streams of randomness.

    stream(seed, n_1, n_2, …) = PCG64(SeedSequence(sha256(seed, n_1, n_2, …)))

A stream depends on its names alone, never on what was drawn before, so a run that was killed and
resumed, or that does its parts in another order, draws the same numbers (after the keyed streams of
Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"). It fails if two different uses
share one list of names: name the act and its round.

>>> a = stream(7, "raters", 3).random()
>>> a == stream(7, "raters", 3).random(), a == stream(7, "raters", 4).random()
(True, False)
"""

from __future__ import annotations

import hashlib
import json
from typing import TypeAlias

import numpy as np

from trueline.errors import InputError

__all__ = ["Rng", "rng", "stream", "torch_seed"]

Rng: TypeAlias = np.random.Generator


def stream(seed: int, *names: str | int) -> np.random.Generator:
    """Return the generator that belongs to these names; `3` and `"3"` are different names."""
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer):
        raise InputError("a seed must be a whole number", got=repr(seed))
    for name in names:
        if isinstance(name, bool) or not isinstance(name, str | int | np.integer):
            raise InputError("a stream's name must be text or a whole number", got=repr(name))
    key = [int(seed), *(name if isinstance(name, str) else int(name) for name in names)]
    digest = hashlib.sha256(json.dumps(key).encode()).digest()
    words = np.frombuffer(digest, dtype="<u4")
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(words.tolist())))


def rng(seed: int) -> np.random.Generator:
    """Return the unnamed stream of a seed, for calls outside a run."""
    return stream(seed)


def torch_seed(rng: np.random.Generator) -> int:
    """Return a 63-bit seed drawn from `rng`, for `torch.Generator().manual_seed`."""
    return int(rng.integers(0, 2**63 - 1, dtype=np.int64))
