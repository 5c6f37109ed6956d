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
from trueline.rewards.rules_arithmetic import Arithmetic, equations, holds
from trueline.rewards.rules_exact import Exact
from trueline.worlds.sums.language import parse, render
from trueline.worlds.sums.problems import draw_problem
from trueline.worlds.sums.writers import draw_writer, write

SYSTEMS = ("6b_finetuning", "6b_verification", "175b_finetuning", "175b_verification")


@pytest.fixture(scope="module")
def problems(shared: Path) -> list[dict[str, Any]]:
    with gzip.open(shared / "data/gsm8k_solutions/solutions.jsonl.gz", "rt") as file:
        return [json.loads(line) for line in file]


@pytest.mark.parametrize("extract", ["after:A:", "last_number"])
def test_exact_agrees_with_the_labels_of_real_solutions(
    problems: list[dict[str, Any]], extract: str
) -> None:
    rows = [(problem, problem[system]) for problem in problems for system in SYSTEMS]
    answers = [problem["ground_truth"].rpartition("A:")[2] for problem, _ in rows]
    prompts = [Prompt.of(p["question"], answer=a) for (p, _), a in zip(rows, answers, strict=True)]
    scores = Exact(extract=extract).score(prompts, [said["solution"] for _, said in rows])
    assert len(rows) == 2640 and scores.scored.all()
    np.testing.assert_array_equal(scores.mean == 1.0, [said["is_correct"] for _, said in rows])


def test_equations_hold_where_a_calculator_says_so(problems: list[dict[str, Any]]) -> None:
    """GSM8K's annotations, <<48/2=24>>, are plain Python: evaluated here, as the oracle."""
    judged = wrong = unreadable = 0
    texts = [problem[system]["solution"] for problem in problems for system in SYSTEMS]
    for run in re.findall(r"<<([^<>]*=[^<>]*)>>", "\n".join(texts)):
        sides = run.split("=")
        try:
            verdict = holds(sides)
        except (ValueError, ZeroDivisionError) as error:
            unreadable += isinstance(error, ValueError)
            continue
        if not all(re.fullmatch(r"[-+*/(). \d]+", side) for side in sides):
            continue
        values = [eval(re.sub(r"(?<![\d.])0+(?=\d)", "", side)) for side in sides]
        # What is written with few decimals may be rounded by half of the last.
        places = min((len(s.partition(".")[2]) for s in sides if "." in s), default=9)
        close = all(abs(a - b) <= 0.501 * 10**-places for a, b in pairwise(values))
        assert verdict == close, sides
        judged, wrong = judged + 1, wrong + (not verdict)
    assert judged > 8200 and 5 <= wrong <= 30 and unreadable <= 20


def test_right_solutions_written_by_people_are_rarely_called_wrong(
    problems: list[dict[str, Any]],
) -> None:
    """False alarms: chains where people wrote "=" for "then", or set units side by side."""
    shown = [chains for p in problems if (chains := equations(p["ground_truth"]))]
    alarms = [not all(map(holds, chains)) for chains in shown]
    assert len(shown) > 550
    assert np.mean(alarms) < 0.015


def test_arithmetic_agrees_with_the_world_about_right_steps(rng: np.random.Generator) -> None:
    """`sums`, both styles, all lengths, larger numbers: no disagreement at all."""
    prompts, texts, right = [], [], []
    for i in range(1500):
        task = draw_problem(rng, int(rng.integers(1, 11)), limit=79 if i % 3 == 0 else 49)
        texts.append(render(write(task, draw_writer(rng), rng)))
        said = parse(texts[-1])
        steps = [*said.steps, *([said.check] if said.check else [])]
        right.append(all(step.holds for step in steps))
        assert right[-1] == all(map(holds, equations(texts[-1]))), texts[-1]
        prompts.append(Prompt.of(task.text))
    passed = Arithmetic().score(prompts, texts).column("mean") == 1.0
    assert 0 < passed.sum() < np.sum(right) < 1500
    assert not (passed & ~np.array(right)).any(), "a right result of wrong steps is no right answer"
