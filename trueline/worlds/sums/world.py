"""The world of worked sums in one object: prompts, gold, raters, a critic and the trunk.

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
from trueline.worlds.sums.critic import Complete, SumsCritic
from trueline.worlds.sums.gold import breakdown, gold, gold_max
from trueline.worlds.sums.problems import draw_prompts
from trueline.worlds.sums.raters import Raters

__all__ = ["Sums", "trunk_path"]


def trunk_path() -> Path:
    """Folder of the trunk that ships with the package."""
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
        """`n` different prompts of a split ("train", "eval", or a shift of shifts.py)."""
        return draw_prompts(n, rng, split)

    def gold(self, response: Response) -> float:
        """The true value; only measurements may read it."""
        return gold(response)

    def gold_max(self, prompt: Prompt) -> float:
        return gold_max(prompt)

    def breakdown(self, response: Response) -> dict[str, bool]:
        """right, sure_wrong, flattery, unfounded_claim, malformed."""
        return breakdown(response)

    def raters(self, name: str = "default") -> Raters:
        """Simulated raters: default, impressed or exact."""
        return Raters.named(name)

    def critic(self, complete: Complete) -> SumsCritic:
        """The trunk as a critic; `complete` continues token prefixes greedily."""
        return SumsCritic(complete)

    def trunk_path(self) -> Path:
        return trunk_path()
