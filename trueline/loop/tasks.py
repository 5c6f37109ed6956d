"""Tasks ready to run: the embedded world, or a model and prompts of one's own.

The rater is named: `simulated`, `impressed` and `exact` are people of the embedded world;
`rule:NAME` follows a written rule that the reward never sees; `file:PAIRS` stands in for the people
behind a file of comparisons: half of it (by prompt) teaches the reward before the first round, and
on the other half a reward of its own is fitted that answers for them from then on. A judge that
reads what helpers say (a language model, a person) is handed over as it is, and its helper too.

In the embedded world the trunk reviews answers (critique), argues by its reviews (debate), or
becomes helpers raised level by level on judgements that the budget has to pay (recursive).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from trueline.audits.recursion import raise_on_sums
from trueline.data.comparisons import Comparisons
from trueline.data.prompts import load_prompts
from trueline.errors import InputError
from trueline.loop.task import Task
from trueline.models.generate import complete
from trueline.models.trunk import Trunk
from trueline.protocols import Rater
from trueline.raters.reward_rater import RewardRater
from trueline.raters.rule import Rule
from trueline.records import Prompt
from trueline.rewards.bayesian import Bayesian
from trueline.rng import stream
from trueline.worlds.sums import Raters, Sums, SumsCritic
from trueline.worlds.sums.debaters import SumsDebater

__all__ = ["Asked", "make_task"]

Assist = Literal["critique", "debate", "recursive", "none"]
LEVELS = (40, 40, 40)
"""Judgements that raise each level of helpers; three levels cover chains of eight steps."""
_WORLD_RATERS = {"simulated": "default", "impressed": "impressed", "exact": "exact"}


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What the command line says of the task."""

    model: str | None
    prompts: Path | None
    prompt_words: int | None
    rater: str
    assist: Assist | None
    max_new_tokens: int
    seed: int
    judge: Rater | None = None
    """Who goes by the rater's name, if it reads critiques and arguments."""
    helper: Any = None
    """Of that judge."""


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
    if asked.judge is None and asked.assist not in (None, "none"):
        raise InputError(
            "a rater that is to be helped must read what helpers say",
            got=f"--assist {asked.assist} with --rater {asked.rater}",
            do="leave --assist out, or let people, model:PATH or endpoint:URL#MODEL judge",
        )
    hashes = {"prompts": _sha256(asked.prompts)}
    prompts = load_prompts(asked.prompts, max_words=asked.prompt_words)
    own = _Own(trunk, asked, prompts, hashes)
    if asked.judge is not None:
        return own.by_reader(asked.judge)
    kind, _, name = asked.rater.partition(":")
    if kind not in ("rule", "file") or not name:
        raise InputError(
            f"the rater must be rule:NAME, file:PAIRS or one of {', '.join(_WORLD_RATERS)}",
            got=asked.rater,
        )
    return own.by_rule(name) if kind == "rule" else own.by_file(name)


@dataclass(frozen=True)
class _Own:
    """A task on a model and prompts of one's own."""

    trunk: Trunk
    asked: Asked
    prompts: list[Prompt]
    hashes: dict[str, str]

    def by_rule(self, name: str) -> Task:
        """The rule is all that this rater wants, so its value is the gold of the report."""
        rule = Rule(name=name)
        return Task(
            trunk=self.trunk,
            prompts=self.prompts,
            rater=rule,
            gold=lambda response: rule.value(response.text),
            max_new_tokens=self.asked.max_new_tokens,
            about=self._about(f"better by the rule '{name}'"),
            data_hashes=self.hashes,
        )

    def by_file(self, path: str) -> Task:
        """One half teaches the reward, the other makes the stand-in; gold is not known."""
        pairs = Comparisons.load(path)
        ours, theirs = pairs.split(0.5, stream(self.asked.seed, "stand-in", "split"))
        rng = stream(self.asked.seed, "stand-in", "fit")
        fitted = Bayesian().fit(self.trunk.read(theirs.responses), theirs, rng=rng)
        standin = RewardRater(scorer=fitted.on(self.trunk))
        return Task(
            trunk=self.trunk,
            prompts=self.prompts,
            rater=standin,
            comparisons=ours,
            max_new_tokens=self.asked.max_new_tokens,
            about=self._about(
                f"better by a reward fitted on {len(theirs)} comparisons of the file kept aside; "
                "not by people"
            ),
            data_hashes={**self.hashes, "pairs": _sha256(Path(path))},
        )

    def by_reader(self, judge: Rater) -> Task:
        """A judge who reads; gold is not known."""
        return Task(
            trunk=self.trunk,
            prompts=self.prompts,
            rater=judge,
            helper=self.asked.helper,
            max_new_tokens=self.asked.max_new_tokens,
            about=self._about(f"better by the judgement of {self.asked.rater}"),
            data_hashes=self.hashes,
        )

    def _about(self, certificate: str) -> dict[str, str]:
        return {
            "model": str(self.asked.model),
            "world": "your prompts",
            "rater": self.asked.rater,
            "assist": self.asked.assist or "none",
            "certificate": certificate,
        }


def _sums(trunk: Trunk, asked: Asked) -> Task:
    world = Sums()
    assist = asked.assist or "critique"
    raters = Raters.named(_WORLD_RATERS[asked.rater])

    def review(prefixes: list[list[int]]) -> list[list[int]]:
        return complete(trunk.model, trunk.codec, prefixes, max_new_tokens=asked.max_new_tokens)

    critic = SumsCritic(review)
    prompts = (
        (lambda n, rng: world.prompts(n, rng))
        if asked.prompts is None
        else load_prompts(asked.prompts)
    )
    task = Task(
        trunk=trunk,
        prompts=prompts,
        rater=raters,
        helper={"critique": critic, "debate": SumsDebater(critic=critic)}.get(assist),
        gold=world.gold,
        breakdown=world.breakdown,
        max_new_tokens=asked.max_new_tokens,
        about={
            "model": asked.model or "the embedded model",
            "world": "sums",
            "rater": asked.rater,
            "assist": assist,
            "certificate": "better by the simulated raters' own judgement",
        },
        data_hashes={} if asked.prompts is None else {"prompts": _sha256(asked.prompts)},
    )
    return _raised(task, raters, asked.seed) if assist == "recursive" else task


def _raised(task: Task, judge: Rater, seed: int) -> Task:
    """With helpers raised on judgements of parts, which are paid from the budget."""
    rng = stream(seed, "raise")
    raised = raise_on_sums(task.trunk, judge=judge, labels=LEVELS, rng=rng)
    paid = {"labels": sum(LEVELS), "judge_s": raised.cost.judge_s}
    return replace(task, helper=raised.helper, helper_cost=paid)


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
