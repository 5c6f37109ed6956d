"""Hold the world of worked sums in one object: prompts and gold.

>>> import numpy as np
>>> world = Sums()
>>> prompt = world.prompts(1, np.random.default_rng(0))[0]
>>> world.gold_max(prompt)
2.7
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from trueline.errors import SetupError
from trueline.records import Prompt, Response
from trueline.worlds.sums.gold import breakdown, gold, gold_max
from trueline.worlds.sums.problems import draw_prompts

__all__ = ["Sums", "trunk_path"]


def trunk_path() -> Path:
    """Return the folder of the trunk that ships with the package."""
    folder = Path(__file__).parent / "model"
    if not (folder / "model.safetensors").is_file():
        raise SetupError(
            "the package must hold the trunk of worked sums",
            got=f"no weights in {folder.name}/",
            do="install it again, or train it: python scripts/train_sums.py train",
        )
    return folder


@dataclass(frozen=True)
class Sums:
    """Worked sums; every response's truth is known."""

    name: str = "sums"

    def prompts(self, n: int, rng: np.random.Generator, split: str = "train") -> list[Prompt]:
        """Draw `n` different prompts of a split (`problems.SPLITS`, or "factor")."""
        return draw_prompts(n, rng, split)

    def gold(self, response: Response) -> float:
        """Return the true value; only measurements may read it."""
        return gold(response)

    def gold_max(self, prompt: Prompt) -> float:
        return gold_max(prompt)

    def breakdown(self, response: Response) -> dict[str, bool]:
        """Return right, sure_wrong, flattery, unfounded_claim and malformed."""
        return breakdown(response)
