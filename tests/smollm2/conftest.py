"""A real chat model, read in bfloat16, and what it is asked and answered."""

from __future__ import annotations

import numpy as np
import pytest

from trueline.models.trunk import Trunk
from trueline.records import Comparison, Prompt, Response

THINGS = ["apple", "river", "candle", "window", "garden", "letter", "winter", "market", "bottle"]
THINGS += ["pillow", "bridge", "forest", "mirror", "pencil", "kettle", "basket", "island", "button"]
ASKS = [
    "What is the plural of {}?",
    "Name one {}. Answer with one word.",
    "Is a {} big? Say yes or no.",
]


@pytest.fixture(scope="session")
def trunk(smollm2):
    return Trunk.load(smollm2, dtype="bfloat16")


@pytest.fixture(scope="session")
def prompts():
    """Questions whose answers are short, enough for each of a run's purposes."""
    return [Prompt.of(ask.format(thing)) for ask in ASKS for thing in THINGS]


@pytest.fixture(scope="session")
def pairs(prompts):
    """Polite answers preferred to rude ones, of the same lengths."""
    rng, found = np.random.default_rng(0), []
    for i in range(72):
        prompt = prompts[i % len(prompts)]
        kind = f"{rng.choice(['Sure', 'Gladly', 'Of course'])}, happy to help you with that."
        rude = f"{rng.choice(['Ugh', 'Again', 'Oh no'])}, go away and leave me alone."
        chosen, rejected = (Response(prompt=prompt, text=text) for text in (kind, rude))
        found.append(Comparison(chosen=chosen, rejected=rejected))
    return found
