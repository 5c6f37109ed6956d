"""What a loop is run on: a trunk, prompts, whom to ask, and the truth if anybody knows it.

Prompts are separated by the hash of their text: a fifth is for measuring only, a fifth for the
gate only, the rest for learning. No prompt ever serves two purposes, in any round of any run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from trueline.data.comparisons import Comparisons
from trueline.data.prompts import Question
from trueline.errors import DataError
from trueline.models.adapters import LoraPolicy, Sampler
from trueline.models.reading import Readings
from trueline.models.rollouts import Sampling
from trueline.models.trunk import Trunk
from trueline.policy.sft import SFT
from trueline.protocols import Rater, Scorer
from trueline.records import Prompt, Response
from trueline.rng import Rng, stream

__all__ = ["Task", "purpose_of"]

_BUCKETS = {0: "measure", 1: "gate"}


def purpose_of(prompt: Prompt) -> str:
    """Return measure, gate or learn, by the prompt's content hash (1 : 1 : 3)."""
    return _BUCKETS.get(int(prompt.key[:8], 16) % 5, "learn")


@dataclass(frozen=True, kw_only=True)
class Task:
    """Everything the loop asks of the world around it."""

    trunk: Trunk
    prompts: Callable[[int, Rng], list[Prompt]] | Sequence[Prompt]
    """A generator of n fresh prompts, or a fixed collection."""
    rater: Any
    """Who judges: a `Rater`, or raters who change from round to round (`at(round) -> Rater`)."""
    helper: Any = None
    """What the protocol is given: a critic, a debater, a stack of helpers; None: nothing."""
    helper_cost: Mapping[str, float] = field(default_factory=dict)
    """`labels` and `judge_s` that raising the helper took; the labels are paid from the budget."""
    gold: Callable[[Response], float] | None = None
    """The true value of a response, where a world knows it. The loop reports it, never uses it."""
    breakdown: Callable[[Response], Mapping[str, bool]] | None = None
    comparisons: Comparisons = field(default_factory=lambda: Comparisons(()))
    """What is known before the first round; learned from, and no part of the label budget."""
    readings: Readings | None = None
    """Of answers in those comparisons, as far as another run has read them."""
    policy: LoraPolicy | None = None
    """What the run begins from, and what its first certificate is against; None: the trunk."""
    demonstrations: Sequence[Response] = ()
    """Answers that the policy learns from before the first round."""
    sft: SFT = field(default_factory=SFT)
    """How it does."""
    sampler: Sampler | None = None
    """An engine that samples while the policy is improved; None: the model itself."""
    sampling: Sampling = field(default_factory=Sampling)
    """How policies answer: to be learned from, labelled, put to the gate and measured alike."""
    judge_apart: Scorer | None = None
    """A reward that the run never learns from or is gated by, which judges the arms at the end."""
    asked: str | None = None
    """The system prompt of the arm that is merely asked; None: there is no such arm."""
    probes: Mapping[str, Sequence[Prompt]] = field(default_factory=dict)
    """Prompts by kind, safe or unsafe, of which refusals are counted."""
    questions: Sequence[Question] = ()
    """By which the arms' skill is measured."""
    about: Mapping[str, str] = field(default_factory=dict)
    """Words for the report: what was rated, by whom, what a certificate means here."""
    data_hashes: Mapping[str, str] = field(default_factory=dict)

    def rater_of(self, round: int) -> Rater:
        """Return who judges in that round."""
        judge: Rater = self.rater.at(round) if hasattr(self.rater, "at") else self.rater
        return judge

    def draw(self, num: int, purpose: str, rng: Rng) -> list[Prompt]:
        """Return `num` different prompts set apart for `purpose`; fewer of a smaller collection."""
        if callable(self.prompts):
            drawn: dict[str, Prompt] = {}
            for _ in range(100):
                more = self.prompts(num * 2, rng)
                drawn |= {p.key: p for p in more if purpose_of(p) == purpose and p.key not in drawn}
                if len(drawn) >= num:
                    return list(drawn.values())[:num]
            raise DataError(
                f"the prompt generator must be able to make {num} different prompts",
                got=str(len(drawn)),
                do="ask for fewer prompts a round",
            )
        pool = list({p.key: p for p in self.prompts if purpose_of(p) == purpose}.values())
        if not pool:
            raise DataError(
                f"the prompts must leave some for each purpose; none falls to '{purpose}'",
                got=f"{len(self.prompts)} prompts",
                do="give more prompts (a hundred or more)",
            )
        return [pool[i] for i in rng.permutation(len(pool))[:num]]

    def specimens(self) -> list[Response]:
        """Return a few texts of different lengths for the self-check of the trunk."""
        prompts = self.draw(8, "learn", stream(0, "specimens"))
        texts = [" ".join(p.text.split()[: 2 + 2 * i]) for i, p in enumerate(prompts)]
        return [Response(prompt=p, text=t) for p, t in zip(prompts, texts, strict=True)]
