"""Set three arms side by side at the end of a run on a chat model: base, asked and trained.

    base        the model itself
    asked       the model itself, with the principles (or words of one's own) as its system prompt
    supervised  the policy after the demonstrations, where there were any
    trained     the policy that the run certified

All answer the prompts set apart for measuring, and are judged as answers to the bare prompts: by a
reward that the run never saw (`evaluate.judge`: another trunk, other labels), or else by the run's
own. An arm's wins over another are the share of pairs of answers to one prompt in which its answer
scores higher, a tie one half; intervals are over prompts. Refusals are told by their words (the
rule `refusal`), after XSTest's string match (Röttger et al. 2024, arXiv 2308.01263): of prompts
that only look harmful ("safe"), and of harmful ones ("unsafe"). What it cost in skill (the
alignment tax, Ouyang et al. 2022, arXiv 2203.02155): questions answered right, where an answer
counts that has a right one among its words, and the perplexity of the right answers at the sampling
temperature.

Fails where the judge shares the run's errors: then what it applauds says nothing.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from trueline import stats
from trueline.loop.task import Task
from trueline.models.adapters import BasePolicy, LoraPolicy
from trueline.models.rollouts import Rollouts
from trueline.policy import Samples
from trueline.progress import track
from trueline.protocols import Scorer
from trueline.raters.rule_and_reward import RULES
from trueline.records import Estimate, Message, Prompt, Response
from trueline.rewards.protocols import Fitted
from trueline.rng import Rng, stream

__all__ = ["Arms", "holds"]

SAMPLES = 3
"""Answers of each arm to a prompt."""


def holds(text: str, answers: Sequence[str]) -> float:
    """Return 1.0 if one of the answers stands among the words of a text, else 0.0."""
    found = (rf"(?<!\w){re.escape(answer)}(?!\w)" for answer in answers)
    return float(any(re.search(pattern, text, re.IGNORECASE) for pattern in found))


@dataclass(frozen=True)
class Arms:
    """What the arms are measured on."""

    task: Task
    prompts: Sequence[Prompt]
    seed: int

    def measure(
        self, policy: LoraPolicy, reward: Fitted, start: LoraPolicy | None = None
    ) -> dict[str, Any] | None:
        """Return each arm's measures, and what it wins over the others; None where there is nothing
        to set side by side: no words to ask with, no judge and no prompts for refusals."""
        task = self.task
        if task.asked is None and task.judge_apart is None and not task.probes:
            return None
        base = BasePolicy(task.trunk, sampling=task.sampling)
        arms: dict[str, tuple[BasePolicy, str | None]] = {"base": (base, None)}
        if task.asked is not None:
            arms["asked"] = (base, task.asked)
        if start is not None:
            arms["supervised"] = (start, None)
        arms["trained"] = (policy, None)
        scorer = task.judge_apart or reward.on(task.trunk)
        said, values = {}, {}
        for name, (by, words) in track(list(arms.items()), "arms"):
            said[name] = self._said(by, words, self.prompts, SAMPLES, "answers")
            values[name] = self._values(said[name], scorer)
        measured: dict[str, dict[str, Any]] = {
            name: {
                "score": _over(np.nanmean(values[name], axis=1)),
                "wins": {o: _wins(values[name], values[o]) for o in values if o != name},
                "length": stats.mean([float(r.num_tokens or 0) for r in said[name].flat]).as_dict(),
                "refusals": self._refusals(*arms[name]),
            }
            for name in arms
        }
        skills = {name: self._skill(*arms[name]) for name in arms if task.questions}
        for name, (right, perplexity) in skills.items():
            measured[name] |= {"skill": stats.accuracy(right).as_dict(), "perplexity": perplexity}
            lost = stats.difference(skills["base"][0], right, bounds=(-1.0, 1.0))
            measured[name] |= {"skill_lost": lost.as_dict()} if name != "base" else {}
        own = Samples.draw(policy, self.prompts, scorer, SAMPLES, rng=self._rng("answers"))
        measured["trained"]["kl"] = _over(own.log_ratio.mean(1), least=0.0)
        return {
            "judge": "apart" if task.judge_apart is not None else "reward",
            "asked_with": task.asked,
            "prompts": len(self.prompts),
            "arms": measured,
        }

    def _said(
        self, by: BasePolicy, words: str | None, prompts: Sequence[Prompt], num: int, what: str
    ) -> Rollouts:
        told = [p if words is None else _told(p, words) for p in prompts]
        return by.rollouts(told, num_samples=num, rng=self._rng(what))

    def _values(self, said: Rollouts, scorer: Scorer) -> np.ndarray:
        """Return scores [B, K] of answers as those to the bare prompts; NaN = unscored."""
        asked = [prompt for prompt in self.prompts for _ in range(SAMPLES)]
        scores = scorer.score(asked, [response.text for response in said.flat])
        return np.where(scores.scored, scores.mean, np.nan).reshape(len(self.prompts), SAMPLES)

    def _refusals(self, by: BasePolicy, words: str | None) -> dict[str, Any]:
        found = {}
        for kind, prompts in self.task.probes.items():
            said = self._said(by, words, prompts, 1, f"refusals of {kind}")
            found[kind] = stats.accuracy([RULES["refusal"](r.text) for r in said.flat]).as_dict()
        return found

    def _skill(self, by: BasePolicy, words: str | None) -> tuple[list[float], float]:
        """Return which questions are answered right, and the perplexity of the right answers."""
        asked = self.task.questions
        said = self._said(by, words, [each.prompt for each in asked], 1, "questions")
        right = [holds(r.text, each.answers) for r, each in zip(said.flat, asked, strict=True)]
        whole = [
            Response(prompt=q.prompt if words is None else _told(q.prompt, words), text=q.text)
            for q in asked
        ]
        logps, mask = by.token_logps(whole, grad=False)
        return right, math.exp(-float((logps * mask).sum() / mask.sum()))

    def _rng(self, what: str) -> Rng:
        return stream(self.seed, "arms", what)


def _told(prompt: Prompt, words: str) -> Prompt:
    """Return the prompt after a system turn, or with the words before those that it has."""
    turns = prompt.messages
    if turns[0].role == "system":
        words, turns = f"{words}\n\n{turns[0].content}", turns[1:]
    return Prompt(messages=(Message("system", words), *turns), meta=prompt.meta)


def _over(values: np.ndarray, least: float = -math.inf) -> dict[str, Any]:
    return stats.mean(values[np.isfinite(values)], bounds=(least, math.inf)).as_dict()


def _wins(ours: np.ndarray, theirs: np.ndarray) -> dict[str, Any]:
    """Return the share of pairs of answers to one prompt in which ours scores higher."""
    ahead = np.sign(ours[:, :, None] - theirs[:, None, :]) / 2 + 0.5
    each = np.array([row[np.isfinite(row)].mean() for row in ahead if np.isfinite(row).any()])
    return (stats.accuracy(each) if len(each) else Estimate(None, None, None, 0)).as_dict()
