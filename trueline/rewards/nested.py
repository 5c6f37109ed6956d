"""A reward inside another, as arrays and words, so that the outer one is saved as one folder.

The inner reward writes itself by its own `save` and is loaded by its own kind's module: the outer
one need not know what it holds.

>>> sorted(prefixed("shared", {"weights": np.ones(2)}))
['shared.weights']
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from trueline.rewards.protocols import Fitted
from trueline.rewards.saved import KINDS
from trueline.rewards.storage import read_folder

__all__ = ["pack", "prefixed", "unpack"]


def pack(reward: Fitted) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """What `save` would write."""
    with TemporaryDirectory() as folder:
        reward.save(Path(folder) / "reward")
        return read_folder(Path(folder) / "reward")


def prefixed(name: str, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The arrays under names of their own in the outer reward."""
    return {f"{name}.{key}": value for key, value in arrays.items()}


def unpack(name: str, arrays: Mapping[str, np.ndarray], words: Mapping[str, Any]) -> Fitted:
    """The reward that was packed and prefixed."""
    inner = {k.removeprefix(f"{name}."): v for k, v in arrays.items() if k.startswith(f"{name}.")}
    module = importlib.import_module(f"trueline.rewards.{KINDS[words['kind']]}")
    reward: Fitted = module.load(inner, words)
    return reward
