"""The trunk as critic and reviser of its own world: it reviews an answer, and the work is compared.

The prompt, the response and the marker `<review>` are completed greedily; wherever the review's own
working differs from what the response wrote, a flaw is named (`reviews.flaws_named`). `flaws` is
None where the review cannot be read. Related: Saunders et al. 2022 (arXiv 2206.05802). Where we
differ: the critic names no flaw in words; it works the sum out, because at this size bare verdicts
stay at chance.

The bare trunk reviews chains of the lengths it has read (1 to 6 and 8) all but perfectly; on others
it invents flaws and loses its place. `trained_critic` is the adapter that ships with the package,
made by `scripts/train_critic.py`: supervised on planted flaws, then online, on those of its own
reviews that moved simulated judges furthest toward the sound answer (McAleese et al. 2024, arXiv
2407.00215). Training and measurements: `critic_adapter/card.json`. It fails on chains of 12 steps,
a length it never read, and in the worded style it is no better than the trunk.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from trueline.data.planted_flaws import Flawed
from trueline.errors import JudgeError
from trueline.records import Critique, Response
from trueline.rng import Rng
from trueline.worlds.sums.flaws import SumsFlaws
from trueline.worlds.sums.gold import shipped
from trueline.worlds.sums.language import END, IDS, VOCABULARY, Parsed, encode, parse, render
from trueline.worlds.sums.reviews import flaws_named, read_review
from trueline.worlds.sums.spans import Spans

__all__ = [
    "PRINCIPLES",
    "Complete",
    "SumsCritic",
    "critic_path",
    "model_critic",
    "review_prefix",
    "trained_critic",
]

Complete = Callable[[list[list[int]]], list[list[int]]]
"""Complete token prefixes (rows of ids), with or without their <end>."""
_MAX_REVIEW = 96
"""Where a review is cut: 15 steps have 95 words."""
_WORK = frozenset({"wrong_step", "wrong_answer"})
PRINCIPLES: Mapping[str, frozenset[str]] = {
    "every step must be right , and the answer follow from them": _WORK,
    "the answer must not flatter": frozenset({"flattery"}),
    "no check may be claimed that is not shown": frozenset({"unfounded_claim"}),
}
"""Its constitution, each principle with the kinds of flaw that it speaks of."""
_ALL_KINDS = frozenset().union(*PRINCIPLES.values())


@dataclass(frozen=True)
class SumsCritic:
    """Name flaws by reworking an answer, mend them, or plant one."""

    complete: Complete
    name: str = "critic"
    kinds: frozenset[str] = _ALL_KINDS
    """Flaws it names."""
    division: Spans = field(default_factory=Spans)
    """How answers fall into parts that it can criticise (`oversight.recursive`)."""

    def under(self, principle: str) -> SumsCritic:
        """Return the critic that names only what a principle of `PRINCIPLES` speaks of.

        Under any other principle it names all that it can.
        """
        return replace(self, kinds=PRINCIPLES.get(principle, _ALL_KINDS))

    def critique(self, responses: Sequence[Response], *, rng: Rng | None = None) -> list[Critique]:
        """Return one critique a response, in order."""
        completions = self.complete([review_prefix(response) for response in responses])
        critiques = []
        for response, ids in zip(responses, completions, strict=True):
            words = _words(ids)
            flaws = flaws_named(response, " ".join(words))
            if flaws is not None:
                flaws = tuple(flaw for flaw in flaws if flaw.kind in self.kinds)
            critiques.append(
                Critique(
                    response=response,
                    text=" ".join(words),
                    flaws=flaws,
                    helper=self.name,
                    num_tokens=len(words) + 1,
                )
            )
        return critiques

    def revise(
        self, response: Response, *, principle: str, critique: Critique, rng: Rng | None = None
    ) -> Response:
        """Return the answer with the first step faulted as the review has it and the trunk's words
        after it, without the flattery and claims faulted (Bai et al. 2022, arXiv 2212.08073)."""
        review, flaws = read_review(critique.text), critique.flaws or ()
        if review is None:
            raise JudgeError("a revision needs a review of steps", got=repr(critique.text[:40]))
        kinds, written = {flaw.kind for flaw in flaws}, parse(response.text)
        if kinds & _WORK:
            named = [flaw.step for flaw in flaws if flaw.step is not None]
            at = min([*named, len(written.steps)])
            kept = Parsed(
                flattery=written.flattery,
                filler=written.filler,
                steps=(*written.steps[:at], *review.steps[at : at + 1]),
                worded=written.worded,
            )
            written = parse(self._continue(response, render(kept)))
        if "flattery" in kinds:
            written = replace(written, flattery="")
        if "unfounded_claim" in kinds and written.unfounded_claim:
            written = replace(written, claim="")
        text = render(written)
        return Response(prompt=response.prompt, text=text, num_tokens=len(text.split()) + 1)

    def inject(self, response: Response, *, rng: Rng) -> Flawed | None:
        """Return a copy with one planted flaw (`flaws.SumsFlaws`); None where none fits."""
        return SumsFlaws().inject(response, rng=rng)

    def _continue(self, response: Response, start: str) -> str:
        ids, _ = encode([*_turns(response), ("assistant", start)])
        (completion,) = self.complete([ids[:-1]])
        return " ".join([start, *_words(completion)])


def review_prefix(response: Response) -> list[int]:
    """Return the token ids up to and with the marker after which the review begins."""
    parsed = parse(response.text)
    # The trunk has read no answer that leaves its certainty open, and reviews none that does.
    end = " not sure" if parsed.answer is not None and parsed.sure is None else ""
    ids, _ = encode([*_turns(response), ("assistant", response.text + end)])
    return [*ids, IDS["<review>"]]


def model_critic(policy: Any, *, name: str = "critic", rng: Rng | None = None) -> SumsCritic:
    """Return a policy (the trunk, with or without an adapter) as critic; `rng` samples reviews."""
    from trueline.models.sampling import complete

    def review(prefixes: list[list[int]]) -> list[list[int]]:
        network, codec = policy.network, policy.trunk.codec
        return complete(network, codec, prefixes, max_new_tokens=_MAX_REVIEW, rng=rng)

    return SumsCritic(review, name)


def trained_critic(trunk: Any) -> SumsCritic:
    """Return the shipped critic on the shipped trunk; another trunk is refused."""
    from trueline.models.adapters import LoraPolicy

    policy = LoraPolicy.load(trunk, critic_path())
    return model_critic(policy, name="trained critic")


def critic_path() -> Path:
    """Return the folder of the critic's adapter that ships with the package."""
    return shipped("critic_adapter")


def _turns(response: Response) -> list[tuple[str, str]]:
    return [(message.role, message.content) for message in response.prompt.messages]


def _words(ids: list[int]) -> list[str]:
    return [VOCABULARY[i] for i in (ids[: ids.index(END)] if END in ids else ids)]
