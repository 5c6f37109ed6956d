"""A reward as a folder: `reward.safetensors` with its arrays, `card.json` with everything else.

Written beside its place and moved there in one step, so that a killed run leaves no half of it.
Another version of the format is refused, and so is a folder with a part missing. Never pickle.

>>> import tempfile
>>> place = Path(tempfile.mkdtemp()) / "reward"
>>> write_folder(place, {"weights": np.ones(2)}, {"spread": 0.5})
>>> arrays, words = read_folder(place)
>>> arrays["weights"].tolist(), words["spread"]
([1.0, 1.0], 0.5)
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from trueline.atomic import atomic_folder, to_json
from trueline.errors import SetupError
from trueline.rewards.laplace import Belief, Dense, LowRank

__all__ = [
    "FORMAT",
    "belief_from",
    "belief_to",
    "check_place",
    "inside",
    "prefixed",
    "read_folder",
    "write_folder",
]

FORMAT = 4
ARRAYS, CARD = "reward.safetensors", "card.json"


def check_place(place: Path) -> None:
    """Refuse a place where something else than a reward stands; ask before a long fit."""
    if place.is_file() or (
        place.exists() and any(place.iterdir()) and not (place / CARD).is_file()
    ):
        raise SetupError(
            "a reward is only written over a reward, or to a new folder",
            got=f"{place}, which holds something else",
            do="name another folder",
        )


def write_folder(place: Path, arrays: Mapping[str, np.ndarray], words: Mapping[str, Any]) -> None:
    """Write both files; an older reward at `place` is replaced."""
    check_place(place)
    with atomic_folder(place) as fresh:
        kept = {name: np.ascontiguousarray(value) for name, value in arrays.items()}
        save_file(kept, fresh / ARRAYS)
        (fresh / CARD).write_text(to_json({"format": FORMAT, **words}), encoding="utf-8")


def read_folder(place: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Return both files' content.

    Raises:
        SetupError: a file is missing or broken, or of another version of the format.
    """
    for name in (CARD, ARRAYS):
        if not (place / name).is_file():
            raise SetupError(f"a reward folder must hold {name}", got=f"none in {place}")
    try:
        words = json.loads((place / CARD).read_text(encoding="utf-8"))
        arrays = load_file(place / ARRAYS)
    except (ValueError, SafetensorError) as error:
        raise SetupError(
            "a reward folder must be whole",
            got=f"{place}: {error}",
            do="fit the reward again",
        ) from None
    if not isinstance(words, dict) or words.get("format") != FORMAT:
        found = words.get("format") if isinstance(words, dict) else None
        raise SetupError(
            f"a reward folder must have format {FORMAT}",
            got=str(found),
            do="fit the reward again with this version",
        )
    return arrays, words


def prefixed(name: str, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the arrays of a reward inside another one, under names of their own there."""
    return {f"{name}.{key}": value for key, value in arrays.items()}


def inside(name: str, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the arrays that were prefixed by this name."""
    start = f"{name}."
    return {k.removeprefix(start): v for k, v in arrays.items() if k.startswith(start)}


def belief_to(name: str, belief: Belief) -> dict[str, np.ndarray]:
    """Return a belief as named arrays."""
    if isinstance(belief, Dense):
        return {f"{name}.chol": belief.chol}
    return {f"{name}.prior": belief.prior, f"{name}.factor": belief.factor}


def belief_from(name: str, arrays: Mapping[str, np.ndarray]) -> Belief:
    """Return the belief that `belief_to` made arrays of."""
    if f"{name}.chol" in arrays:
        return Dense(arrays[f"{name}.chol"])
    return LowRank(arrays[f"{name}.prior"], arrays[f"{name}.factor"])
