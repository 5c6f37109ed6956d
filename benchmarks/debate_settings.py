"""Who debates what before whom: the cases, debaters, judges and arms of `oversight_debate`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from trueline.data.cases import LabelledCase
from trueline.data.transcripts import RecordedVerdict
from trueline.oversight.consultancy import Consultancy
from trueline.oversight.critique import WithCritique
from trueline.oversight.debate import Debate
from trueline.oversight.direct import Direct
from trueline.records import Case, Prompt, Response
from trueline.records import Critique as Said
from trueline.rng import stream
from trueline.worlds.sums.debaters import SkilledCritic, SumsDebater, SumsJudge, hide
from trueline.worlds.sums.language import render
from trueline.worlds.sums.problems import draw_problem
from trueline.worlds.sums.writers import Writer, write

__all__ = ["ARMS", "CRITIC", "JUDGE", "ROUNDS", "SHOWN", "Reviews", "Setting"]

ROUNDS = 3
ARMS: dict[str, tuple[Any, int]] = {
    "unaided": (Direct(), 1),
    "unaided, equal time": (Direct(), ROUNDS),
    "critique": (WithCritique(), 1),
    "debate, 1 round": (Debate(rounds=1), 1),
    "debate": (Debate(rounds=ROUNDS), 1),
    "debate in turn": (Debate(rounds=ROUNDS, simultaneous=False), 1),
    "consultancy": (Consultancy(rounds=ROUNDS), 1),
}
"""Protocol, and by how much the judge's looks are multiplied."""
CRITIC, JUDGE = SkilledCritic(), SumsJudge()
SHOWN: dict[str, float | None] = {"hidden": 0.0, "half": 0.5, "open": None}


@dataclass(frozen=True, kw_only=True)
class Setting:
    """Who debates what before whom."""

    shown: float | None = 0.0
    num_steps: int = 4
    critic: Any = CRITIC
    unsupported: float = 0.5
    judge: SumsJudge = JUDGE

    def cases(self, num: int, seed: int) -> list[LabelledCase]:
        """Pairs of a right and a wrong answer, on either side by chance."""
        rng = stream(seed, "cases", self.num_steps)
        found: list[LabelledCase] = []
        while len(found) < num:
            task = draw_problem(rng, self.num_steps)
            wrong = write(task, Writer(wrong_step=0.25), rng)
            if wrong.answer == task.truth:
                continue
            right = write(task, Writer(), rng)
            prompt, correct = Prompt.of(task.text), int(rng.integers(2))
            pair = [
                Response(
                    prompt=prompt,
                    text=render(
                        replace(one, flattery="", filler="", check=None, claim="", sure=True)
                    ),
                )
                for one in ((right, wrong) if correct == 0 else (wrong, right))
            ]
            case = (
                Case(first=pair[0], second=pair[1])
                if self.shown is None
                else hide(pair[0], pair[1], shown=self.shown)
            )
            found.append(LabelledCase(case=case, correct=correct, group=prompt.key))
        return found

    def helper(self, case: Case) -> SumsDebater:
        return SumsDebater(critic=self.critic, unsupported=self.unsupported, source=case.source)

    def judged(self, arm: str, cases: Sequence[LabelledCase], seed: int) -> list[RecordedVerdict]:
        """All cases in one arm."""
        protocol, times = ARMS[arm]
        judge = replace(self.judge, looks=self.judge.looks * times)
        return [
            RecordedVerdict(
                id=f"{seed}-{i}",
                group=one.group,
                protocol=arm,
                question=one.case.prompt.text,
                answers=(one.case.first.text, one.case.second.text),
                correct=one.correct,
                verdict=protocol.judge(
                    one.case,
                    helper=self.helper(one.case),
                    judge=judge,
                    rng=stream(seed, "judged", arm, i),
                ),
            )
            for i, one in enumerate(cases)
        ]

    def run(self, arms: Sequence[str], num: int, seeds: Sequence[int]) -> list[RecordedVerdict]:
        """Every seed's fresh cases in every arm."""
        rows = []
        for seed in seeds:
            cases = self.cases(num, seed)
            rows += [row for arm in arms for row in self.judged(arm, cases, seed)]
        return rows


@dataclass
class Reviews:
    """The embedded model's reviews of whole answers, all completed at once beforehand."""

    notes: dict[str, Said] = field(default_factory=dict)

    @classmethod
    def of(cls, responses: Sequence[Response]) -> Reviews:
        from trueline.models.generate import complete
        from trueline.models.trunk import Trunk
        from trueline.worlds.sums import SumsCritic, trunk_path

        trunk = Trunk.load(trunk_path())
        critic = SumsCritic(
            lambda prefixes: complete(trunk.model, trunk.codec, prefixes, max_new_tokens=80)
        )
        return cls({note.response.key: note for note in critic.critique(list(responses))})

    def critique(self, responses: Sequence[Response], *, rng: np.random.Generator) -> list[Said]:
        return [self.notes[response.key] for response in responses]
