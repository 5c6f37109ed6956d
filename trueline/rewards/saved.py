"""Loads a saved reward, of whichever kind it is.

A reward's metadata names its kind; `KINDS` says which module reads it back, by a function
`load(arrays, words)`. A reward inside another (an ensemble's, a group's) is saved and loaded by the
same two functions.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from trueline.errors import SetupError
from trueline.rewards.protocols import Fitted, Reader
from trueline.rewards.storage import read_folder

__all__ = ["KINDS", "load_reward"]

KINDS = {
    "rule": "rules",
    "calibrated": "doubt",
    "ensemble": "ensemble",
    "groups": "groups",
    "linear": "fitted",
}
"""Kind to the module of this folder that loads it."""


def load_reward(folder: str | Path, trunk: Reader | None = None) -> Fitted:
    """What `save` wrote; `trunk`: refuse the folder if it was fitted on another."""
    arrays, words = read_folder(Path(folder))
    kind = words.get("kind")
    if kind not in KINDS:
        raise SetupError(
            f"a reward's kind must be one of {', '.join(KINDS)}",
            got=f"{kind!r} in {folder}",
            do="fit the reward again with this version",
        )
    module: Any = importlib.import_module(f"trueline.rewards.{KINDS[kind]}")
    reward: Fitted = module.load(arrays, words)
    if trunk is not None:
        reward.on(trunk)
    return reward
