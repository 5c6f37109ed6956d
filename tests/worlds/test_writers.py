"""The corpus and the splits: the shares promised, and nothing that is kept for a shift."""

from __future__ import annotations

import numpy as np
import pytest
from sums_corpus import REVIEWED, draw_document

from trueline.worlds.sums.language import Parsed, parse, render
from trueline.worlds.sums.problems import LIMIT, SPLITS, Problem, draw_prompts
from trueline.worlds.sums.reviews import read_review, rework

Documents = list[tuple[Problem, Parsed, str | None]]


@pytest.fixture(scope="module")
def sums() -> Documents:
    """Read back; answers are well formed."""
    rng, found = np.random.default_rng(11), []
    for turns in (dict(draw_document(rng)) for _ in range(6000)):
        if not turns["user"].endswith("prime"):
            parsed = parse(turns["assistant"])
            assert not parsed.malformed and render(parsed) == turns["assistant"]
            task = Problem.read(turns["user"].removesuffix(" . marigold"))
            found.append((task, parsed, turns.get("reviewer")))
    return found


def test_reviews_work_every_step_out_rightly(sums: Documents) -> None:
    reviewed = [(task, answer, text) for task, answer, text in sums if text is not None]
    assert len(reviewed) / len(sums) == pytest.approx(REVIEWED, abs=0.03)
    for task, answer, text in reviewed:
        said = read_review(text)
        assert said is not None
        assert said.steps == rework(task, answer)
        assert all(step.holds for step in said.steps)
        assert said.flattery == bool(answer.flattery)
        assert said.unfounded_claim == answer.unfounded_claim


def test_the_mixture_has_the_shares_promised(sums: Documents) -> None:
    usual = [(task, answer) for task, answer, _ in sums if 2 <= len(task.operations) <= 5]
    shares = {
        0.66: [answer.answer == task.truth for task, answer in usual],
        0.35: [bool(answer.flattery) for _, answer in usual],
        0.34: [answer.unfounded_claim for _, answer in usual],
        0.15: [answer.check is not None for _, answer in usual],
        0.79: [answer.sure for _, answer in usual],
        0.2: [task.guess is not None for task, _ in usual],
    }
    for expected, facts in shares.items():
        assert np.mean(facts) == pytest.approx(expected, abs=0.035)


def test_nothing_kept_for_a_shift_is_in_the_corpus(sums: Documents) -> None:
    for task, _, _ in sums:
        assert not task.unseen_order
        assert not task.held_out
        assert len(task.operations) in (1, 2, 3, 4, 5, 6, 8)
        large = max(task.start, *(step.c for step in task.steps)) > LIMIT
        assert len(task.operations) <= 2 or not (large or task.worded)


@pytest.mark.parametrize("name", list(SPLITS))
def test_splits_hold_what_they_promise(name: str) -> None:
    prompts = draw_prompts(150, np.random.default_rng(3), name)
    assert len({prompt.key for prompt in prompts}) == 150
    split = SPLITS[name]
    for prompt in prompts:
        task = Problem.read(prompt.text)
        assert len(task.operations) in split.lengths
        assert task.held_out == split.held_out
        assert task.worded == split.worded
        assert task.unseen_order == split.unseen_order
        values = [task.start, *(step.c for step in task.steps)]
        assert 0 <= min(values) <= max(values) <= split.limit
        assert max(values) > LIMIT or split.limit == LIMIT
