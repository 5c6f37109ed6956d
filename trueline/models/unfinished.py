"""Keep on disk what a long step has done so far, so that a killed run goes on within it.

    sampling            each batch of answers, as it comes
    gradient steps      now and then: weights, AdamW's moments, how many steps were made

A part is found again by the sha256 of all it was made from: of other weights, prompts or uniforms
there is none. It is written whole or not at all. Steps are dropped after their round, answers at
the end of the run. A part that cannot be read is made again, with a warning.

Weights and answers, but no code and no pickle: safetensors.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from trueline.atomic import atomic_write

__all__ = ["Tensors", "Unfinished", "digest", "recalling"]

Tensors = Mapping[str, Tensor]


class Unfinished:
    """A folder of parts, made when the first is kept."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def get(self, key: str) -> tuple[dict[str, Tensor], Any] | None:
        """Return the tensors and words kept under a key; None where there are none."""
        place = self._place(key)
        if not place.exists():
            return None
        try:
            with safe_open(place, framework="pt") as file:
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
                return tensors, json.loads(file.metadata()["words"])
        except (SafetensorError, OSError, ValueError, LookupError, TypeError) as error:
            warnings.warn(f"{place} cannot be used ({error}); it is made again", stacklevel=2)
            return None

    def put(self, key: str, tensors: Tensors, words: Any = None) -> None:
        """Keep tensors and words (plain data) in the place of what was there."""
        whole = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        atomic_write(self._place(key), save(whole, {"words": json.dumps(words)}))

    def recall(self, held: str, make: Callable[[], Tensors], *about: Any) -> Tensors:
        """Return what `make` gives; once for weights `held` and all else it is made of, `about`."""
        key = digest(held, *about)
        if (found := self.get(key)) is not None:
            return found[0]
        made = make()
        self.put(key, made)
        return made

    def drop(self, what: str) -> None:
        """Drop the parts whose keys begin so."""
        for part in self.folder.glob(f"{what}*.safetensors"):
            part.unlink()

    def _place(self, key: str) -> Path:
        return self.folder / f"{key}.safetensors"


def recalling(kept: Unfinished | None, network: Any) -> Callable[..., Tensors] | None:
    """Return `Unfinished.recall` of what a network's trainable weights, as they are now, give."""
    if kept is None:
        return None
    return partial(kept.recall, digest(*(p for p in network.parameters() if p.requires_grad)))


def digest(*parts: Any) -> str:
    """Return the sha256 of tensors, arrays and plain data, in their order."""
    found = hashlib.sha256()
    for part in parts:
        if isinstance(part, Tensor):
            part = part.detach().cpu().numpy()
        if isinstance(part, np.ndarray):
            found.update(f"{part.dtype}{part.shape}".encode())
            found.update(np.ascontiguousarray(part).tobytes())
        else:
            found.update(json.dumps(part).encode())
    return found.hexdigest()
