"""Tasks ready to run: the embedded world, or a model and prompts of one's own.

The rater is named: `simulated`, `impressed` and `exact` are people of the embedded world;
`rule:NAME` follows a written rule that the reward never sees; `file:PAIRS` stands in for the people
behind a file of comparisons: half of it (by prompt) teaches the reward before the first round, and
on the other half a reward of its own is fitted that answers for them from then on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from trueline.data.comparisons import Comparisons
from trueline.data.prompts import load_prompts
from trueline.errors import InputError
from trueline.loop.task import Task
from trueline.models.generate import complete
from trueline.models.trunk import Trunk
from trueline.raters.rule import Rule
from trueline.raters.standin import StandIn
from trueline.rewards.bayesian import Bayesian
from trueline.rng import stream
from trueline.roles import Rater
from trueline.worlds.sums import Raters, Sums, SumsCritic

__all__ = ["Asked", "make_task"]

_WORLD_RATERS = {"simulated": "default", "impressed": "impressed", "exact": "exact"}


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What the command line says of the task."""

    model: str | None
    prompts: Path | None
    prompt_words: int | None
    rater: str
    assist: Literal["critique", "none"] | None
    max_new_tokens: int
    seed: int


def make_task(trunk: Trunk, asked: Asked) -> Task:
    """The task asked for; InputError where its parts do not fit together."""
    if asked.rater in _WORLD_RATERS:
        return _sums(trunk, asked)
    if asked.model is None:
        raise InputError(
            f"the embedded world's rater must be one of {', '.join(_WORLD_RATERS)}",
            got=asked.rater,
            do="give --model and --prompts for a rater of your own",
        )
    if asked.prompts is None:
        raise InputError("a model of your own needs prompts", got="none", do="give --prompts FILE")
    if asked.assist == "critique":
        raise InputError(
            "critiques come from the embedded world's reviewer for now",
            got=f"--assist critique with --rater {asked.rater}",
            do="leave --assist out",
        )
    kind, _, name = asked.rater.partition(":")
    makers: dict[str, Callable[[Trunk, Asked, str], tuple[Rater, Comparisons, str]]] = {
        "rule": _rule,
        "file": _file,
    }
    if kind not in makers or not name:
        raise InputError(
            f"the rater must be rule:NAME, file:PAIRS or one of {', '.join(_WORLD_RATERS)}",
            got=asked.rater,
        )
    rater, comparisons, certificate = makers[kind](trunk, asked, name)
    prompts = load_prompts(asked.prompts, max_words=asked.prompt_words)
    hashes = {"prompts": _sha256(asked.prompts)}
    if kind == "file":
        hashes["pairs"] = _sha256(Path(name))
    return Task(
        trunk=trunk,
        prompts=prompts,
        rater=lambda _: rater,
        comparisons=comparisons,
        max_new_tokens=asked.max_new_tokens,
        about={
            "model": asked.model or "the embedded model",
            "world": "your prompts",
            "rater": asked.rater,
            "assist": "none",
            "certificate": certificate,
        },
        data_hashes=hashes,
    )


def _sums(trunk: Trunk, asked: Asked) -> Task:
    world = Sums()
    assisted = asked.assist != "none"
    raters = Raters.named(_WORLD_RATERS[asked.rater])

    def review(prefixes: list[list[int]]) -> list[list[int]]:
        return complete(trunk.model, trunk.codec, prefixes, max_new_tokens=asked.max_new_tokens)

    prompts = (
        (lambda n, rng: world.prompts(n, rng))
        if asked.prompts is None
        else load_prompts(asked.prompts)
    )
    return Task(
        trunk=trunk,
        prompts=prompts,
        rater=raters.at,
        helper=SumsCritic(review) if assisted else None,
        gold=world.gold,
        breakdown=world.breakdown,
        max_new_tokens=asked.max_new_tokens,
        about={
            "model": asked.model or "the embedded model",
            "world": "sums",
            "rater": asked.rater,
            "assist": "critique" if assisted else "none",
            "certificate": "better by the simulated raters' own judgement",
        },
        data_hashes={} if asked.prompts is None else {"prompts": _sha256(asked.prompts)},
    )


def _rule(trunk: Trunk, asked: Asked, name: str) -> tuple[Rater, Comparisons, str]:
    return Rule(name=name), Comparisons(()), f"better by the rule '{name}'"


def _file(trunk: Trunk, asked: Asked, path: str) -> tuple[Rater, Comparisons, str]:
    pairs = Comparisons.load(path)
    ours, theirs = pairs.split(0.5, stream(asked.seed, "stand-in", "split"))
    rng = stream(asked.seed, "stand-in", "fit")
    reward = Bayesian().fit(trunk.read(theirs.responses), theirs, rng=rng)
    return (
        StandIn(scorer=reward.on(trunk)),
        ours,
        f"better by a reward fitted on {len(theirs)} comparisons of the file kept aside; "
        "not by people",
    )


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
