"""What tests of several folders are made of."""

from __future__ import annotations

import numpy as np

from trueline.data.comparisons import Comparisons
from trueline.records import Comparison, Response
from trueline.worlds.sums import Sums
from trueline.worlds.sums.language import render
from trueline.worlds.sums.problems import Problem
from trueline.worlds.sums.writers import Writer, write

__all__ = ["right_over_wrong"]


def right_over_wrong(num: int) -> Comparisons:
    """Right answers preferred to wrong ones, to so many sums."""
    rng = np.random.default_rng(0)
    rows = []
    for prompt in Sums().prompts(num, rng):
        problem = Problem.read(prompt.text)
        right, wrong = (
            Response(prompt=prompt, text=render(write(problem, Writer(wrong_step=share), rng)))
            for share in (0.0, 1.0)
        )
        rows.append(Comparison(chosen=right, rejected=wrong))
    return Comparisons(tuple(rows))
