"""How useful a critique is to a judge: how far it moves the judge toward the better answer.

    moved(c) = mean_j [ b_j(better | c) - b_j(better | no critique) ]  -  price * flaws named

b_j: belief of judge j that the better answer is the better, with and without the critique under
the *same* draws (of the person, of the steps it looks at and of its slips), so that the difference
is the critique's alone. Which answer is better must be known, so this is for training on planted
flaws; `learned` puts a reward in its place that was fitted on which critique moved judges further,
and that needs no truth.

Kin: critiques trained to be helpful, Saunders et al. 2022, 2206.05802; a price on alarms as in the
length penalty of 2407.00215. Where we differ: (1) usefulness is measured on the judge's belief and
not asked for; (2) each flaw named costs `price`, since a judge who checks one step is not moved by
alarms on the others, and they would be free.

Unit: probability, in -1..1. Fails with judges who state no belief: they are left out, and if none
is left the answer is None.

>>> from trueline.records import Flaw, Prompt
>>> from trueline.worlds.sums import Raters
>>> ask, answers = Prompt.of("start 7 , + 5"), ("7 + 5 = 12 ; answer 12", "7 + 5 = 13 ; answer 13")
>>> good, bad = (Response(prompt=ask, text=text) for text in answers)
>>> said = Critique(response=bad, text="", flaws=(Flaw(kind="wrong_step", step=0),), helper="h")
>>> moved(Case(first=good, second=bad), [said], judge=Raters(), seed=0)
[-0.01]
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from trueline.protocols import Rater, Scorer
from trueline.records import Case, Critique, Response
from trueline.rng import stream

__all__ = ["as_response", "learned", "moved"]


def moved(
    case: Case,
    critiques: Sequence[Critique],
    *,
    judge: Rater,
    seed: int,
    num_judges: int = 8,
    price: float = 0.01,
) -> list[float | None]:
    """What each critique, shown alone, does to belief in the case's *first* answer, which must be
    the better one."""

    def beliefs(shown: tuple[Critique, ...]) -> list[float | None]:
        draws = (stream(seed, "judge", j) for j in range(num_judges))
        return [judge.compare(*case.responses, critiques=shown, rng=r).belief for r in draws]

    before = beliefs(())
    moves = []
    for critique in critiques:
        pairs = zip(beliefs((critique,)), before, strict=True)
        gains = [a - b for a, b in pairs if a is not None and b is not None]
        alarms = len(critique.flaws or ())
        moves.append(float(np.mean(gains)) - price * alarms if gains else None)
    return moves


def as_response(critique: Critique, *, before: str) -> Response:
    """The answer with the critique after it, as one text that a trunk reads; `before` is what
    stands between them in the trunk's own documents ("<end> <review>" in worked sums)."""
    answer = critique.response
    return Response(prompt=answer.prompt, text=f"{answer.text} {before} {critique.text}")


def learned(scorer: Scorer, *, before: str) -> Callable[[Critique], float]:
    """Usefulness by a reward on answer and critique; what it does not score is the least useful."""

    def usefulness(critique: Critique) -> float:
        text = as_response(critique, before=before)
        score = scorer.score([text.prompt], [text.text])[0]
        return -np.inf if score.mean is None else score.mean

    return usefulness
