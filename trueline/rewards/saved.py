"""Load a saved reward, of whichever kind it is, alone or inside another one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from trueline.errors import SetupError
from trueline.rewards.protocols import KINDS, Fitted, Reader
from trueline.rewards.storage import inside, read_folder

__all__ = ["load_reward", "restore", "restore_inner"]


def load_reward(folder: str | Path, trunk: Reader | None = None) -> Fitted:
    """Return the reward that `save` wrote to a folder.

    Args:
        folder: holds reward.safetensors and card.json.
        trunk: refuse the reward if it was fitted on another, or may not be used.

    Raises:
        SetupError: the folder is not a whole reward of this version, or of another trunk.
    """
    arrays, words = read_folder(Path(folder))
    try:
        reward = restore(arrays, words)
    except KeyError as error:
        raise SetupError(
            f"a reward's kind must be one of {', '.join(sorted(KINDS))}, with all its parts",
            got=f"{words.get('kind')!r} in {folder}, {error} is missing",
            do="fit the reward again with this version",
        ) from None
    if trunk is not None:
        reward.on(trunk)
    return reward


def restore(arrays: Mapping[str, np.ndarray], words: Mapping[str, Any]) -> Fitted:
    """Return the reward of these arrays and words."""
    return KINDS[words["kind"]].restored(arrays, words)


def restore_inner(arrays: Mapping[str, np.ndarray], words: Mapping[str, Any]) -> Fitted:
    """Return the reward inside the one of these arrays and words."""
    return restore(inside("inner", arrays), words["inner"])
