"""Raters are asked once, in order, with critiques written in blocks; and what a round took."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from trueline.loop.labels import Labels
from trueline.models.distributed import Workers
from trueline.oversight.critique import WithCritique
from trueline.oversight.debate import Debate
from trueline.oversight.direct import Direct
from trueline.protocols import Rater
from trueline.records import Case, Critique, Preference, Prompt, Response, Verdict
from trueline.runs import RunFolder


class Judge:
    """Prefers the first answer; counts what it was asked."""

    def __init__(self) -> None:
        self.rounds: list[int] = []
        self.seen: list[tuple[Critique, ...]] = []

    def at(self, round: int) -> Rater:
        self.rounds.append(round)
        return self  # type: ignore[return-value]

    def compare(
        self,
        first: Response,
        second: Response,
        *,
        critiques: tuple[Critique, ...] = (),
        rng: np.random.Generator,
    ) -> Verdict:
        self.seen.append(critiques)
        return Verdict(preference=Preference.FIRST, rater="judge")


class Critic:
    """Says of each answer what it drew."""

    def __init__(self) -> None:
        self.batches: list[int] = []

    def critique(
        self, responses: Sequence[Response], *, rng: np.random.Generator
    ) -> list[Critique]:
        self.batches.append(len(responses))
        return [
            Critique(response=r, text=f"{rng.random()}", flaws=(), helper="critic")
            for r in responses
        ]


def cases(num: int) -> list[Case]:
    prompts = [Prompt.of(f"prompt {i}") for i in range(num)]
    return [
        Case(first=Response(prompt=p, text="a"), second=Response(prompt=p, text="b"))
        for p in prompts
    ]


@pytest.fixture
def make(tmp_path: Path) -> Any:
    def labels(protocol: Any, helper: Any, judge: Any, name: str = "run") -> Labels:
        task = SimpleNamespace(
            trunk=SimpleNamespace(workers=Workers()),
            rater_of=judge.at,
            helper=helper,
            comparisons=(),
        )
        place = tmp_path / name
        return Labels(RunFolder.resume(place, {}, data_hashes={}), task, protocol, 0)  # type: ignore[arg-type]

    return labels


def test_nobody_is_asked_twice_or_for_more_than_was_wanted(make):
    judge = Judge()
    labels = make(Direct(), None, judge)
    asked = labels.ask(cases(5), purpose="learn", round=1)
    first = [next(asked), next(asked)]
    assert len(judge.seen) == 2
    again = list(labels.ask(cases(5), purpose="learn", round=1))
    assert len(judge.seen) == 5 and again[:2] == first
    assert labels.store.spent()["learn"] == 5
    assert len(labels.learned(1)[1]) == 5 and not labels.learned(2)[1]
    assert judge.rounds == [1, 1]


def test_critiques_are_written_in_blocks_that_a_resumed_run_repeats(make):
    whole, resumed = Judge(), Judge()
    critic = Critic()
    list(make(WithCritique(), critic, whole).ask(cases(60), purpose="learn", round=1))
    assert critic.batches == [96, 24], "48 cases, then the rest"
    part, late = make(WithCritique(), critic, resumed, "part"), Critic()
    for _ in zip(range(50), part.ask(cases(60), purpose="learn", round=1), strict=False):
        pass
    part.folder.close()
    again = make(WithCritique(), late, resumed, "part")
    assert len(list(again.ask(cases(60), purpose="learn", round=1))) == 60
    assert resumed.seen == whole.seen and late.batches == [24]


@dataclass(frozen=True)
class Debater:
    """Argues by what its critic says of both answers."""

    critic: Any

    def argue(self, case: Case, *, side: int, said: Any, rng: np.random.Generator) -> Critique:
        of_both = self.critic.critique(case.responses, rng=rng)
        return replace(of_both[side], in_favour=True)


def test_a_debater_s_critic_writes_in_blocks_too(make):
    critic, judge = Critic(), Judge()
    list(make(Debate(rounds=2), Debater(critic), judge).ask(cases(3), purpose="gate", round=1))
    assert critic.batches == [6]
    texts = [c.text for seen in judge.seen for c in seen]
    assert len(set(texts)) == 6, "each answer's critique is the same in every speech"


def test_what_a_round_took(make):
    labels = make(Direct(), None, Judge())
    rows = {"learn": [0.0], "gate": [4.0, 6.0]}
    vars(labels)["store"] = SimpleNamespace(seconds=lambda purpose, *, round: rows[purpose])
    assert labels.taken(1) == {"labels": {"learn": 1, "gate": 2}, "judge_s": {"gate": 10.0}}
