"""Rules on real solutions of school problems, and on the embedded world's own truth."""

from __future__ import annotations

import gzip
import json
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trueline.records import Prompt
from trueline.rewards.rules import Exact, Extract, after, last_number
from trueline.rewards.rules_proof import Arithmetic, calculator
from trueline.worlds.sums.language import parse, render
from trueline.worlds.sums.problems import draw_problem
from trueline.worlds.sums.writers import draw_writer, write

SYSTEMS = ("6b_finetuning", "6b_verification", "175b_finetuning", "175b_verification")


@pytest.fixture(scope="module")
def problems(shared: Path) -> list[dict[str, Any]]:
    with gzip.open(shared / "data/gsm8k_solutions/solutions.jsonl.gz", "rt") as file:
        return [json.loads(line) for line in file]


@pytest.mark.parametrize("extract", [after("A:"), last_number])
def test_exact_agrees_with_the_labels_of_real_solutions(
    problems: list[dict[str, Any]], extract: Extract
) -> None:
    prompts, texts, right = [], [], []
    for problem in problems:
        answer = problem["ground_truth"].rpartition("A:")[2]
        for system in SYSTEMS:
            prompts.append(Prompt.of(problem["question"], answer=answer))
            texts.append(problem[system]["solution"])
            right.append(problem[system]["is_correct"])
    scores = Exact(extract=extract).score(prompts, texts)
    assert len(texts) == 2640 and scores.scored.all()
    np.testing.assert_array_equal(scores.mean == 1.0, right)


def test_arithmetic_agrees_with_a_calculator_on_its_annotations(
    problems: list[dict[str, Any]],
) -> None:
    """The annotations are plain Python: evaluated here, in the test, as the oracle."""
    judged = wrong = unscored = 0
    for problem in problems:
        for system in SYSTEMS:
            for sides in calculator(problem[system]["solution"]):
                verdict = Arithmetic(find=lambda _, sides=sides: [sides]).judge("")  # type: ignore[misc]
                unscored += isinstance(verdict, str)
                if isinstance(verdict, str) or not all(
                    re.fullmatch(r"[-+*/(). \d]+", side) for side in sides
                ):
                    continue
                values = [eval(re.sub(r"(?<![\d.])0+(?=\d)", "", side)) for side in sides]
                # What is written with few decimals may be rounded by half of the last.
                places = min((len(s.partition(".")[2]) for s in sides if "." in s), default=9)
                close = all(abs(a - b) <= 0.501 * 10**-places for a, b in pairwise(values))
                assert (verdict == 1.0) == close, sides
                judged, wrong = judged + 1, wrong + (verdict == 0.0)
    assert judged > 8200 and 5 <= wrong <= 30 and unscored <= 20


def test_right_solutions_written_by_people_are_rarely_called_wrong(
    problems: list[dict[str, Any]],
) -> None:
    """False alarms: chains where people wrote "=" for "then", or set units side by side."""
    texts = [problem["ground_truth"] for problem in problems]
    assert all(Arithmetic(find=calculator).judge(t) == 1.0 for t in texts if "<<" in t)
    shown = [text for text in texts if Arithmetic().find(text)]
    assert len(shown) > 550
    assert np.mean([Arithmetic().judge(text) != 1.0 for text in shown]) < 0.015


def test_arithmetic_agrees_with_the_world_about_right_steps(rng: np.random.Generator) -> None:
    """`sums`, both styles, all lengths, larger numbers: no disagreement at all."""
    seen = set()
    for i in range(1500):
        task = draw_problem(rng, int(rng.integers(1, 11)), limit=79 if i % 3 == 0 else 49)
        text = render(write(task, draw_writer(rng), rng))
        said = parse(text)
        steps = [*said.steps, *([said.check] if said.check else [])]
        holds = all(step.holds for step in steps)
        seen.add(holds)
        assert Arithmetic().judge(text) == float(holds), text
    assert seen == {True, False}
