"""Oversight's benchmark: its cases and a tiny run of all of it."""

from __future__ import annotations

from benchmarks import oversight
from benchmarks.common import Cells
from trueline.worlds.sums.problems import Problem


def test_hidden_cases_have_one_right_side() -> None:
    cases = oversight.hidden_cases(12, 0)
    assert {correct for _, correct, _ in cases} == {0, 1}
    for case, correct, _ in cases:
        answers = [int(r.text.split("answer")[1].split()[0]) for r in case.responses]
        problem = Problem.read(case.prompt.text)
        assert answers[correct] == problem.truth != answers[1 - correct]


def test_oversight() -> None:
    measured = oversight.measure(oversight.Help(quick=True), Cells())
    assert len([row.as_dict() for row in measured.rows]) == 7
    arms = measured.numbers["debate"]
    assert arms["debate"]["value"] > arms["alone"]["value"]
