"""The critic compares a review's own working with the response, and mends what differs."""

from __future__ import annotations

import numpy as np
import pytest

from trueline.errors import JudgeError
from trueline.records import Flaw, Prompt, Response
from trueline.worlds.sums import SumsCritic
from trueline.worlds.sums.critic import PRINCIPLES
from trueline.worlds.sums.language import END, IDS, VOCABULARY, parse
from trueline.worlds.sums.problems import Problem
from trueline.worlds.sums.reviews import review

PROMPT = Prompt.of("start 7 , + 5 , * 3", system="audited")


def critique(answer: str, said: str | None = None, *, end: bool = True) -> tuple[Flaw, ...] | None:
    """The flaws a critic names whose model says `said` (by default: the ideal review)."""
    response = Response(prompt=PROMPT, text=answer)
    said = review(Problem.read(PROMPT.text), parse(answer)) if said is None else said
    ids = [IDS[word] for word in said.split()] + ([END, 0, 0] if end else [])
    (one,) = SumsCritic(lambda prefixes: [ids for _ in prefixes]).critique([response])
    assert one.response is response
    assert one.text == said
    return one.flaws


@pytest.mark.parametrize(
    ("answer", "flaws"),
    [
        ("7 + 5 = 12 ; 12 * 3 = 36 ; answer 36 sure", []),
        ("7 + 5 = 12 ; 12 * 3 = 37 ; answer 37 sure", [("wrong_step", 1), ("wrong_answer", None)]),
        ("7 + 5 = 12 ; 12 * 3 = 36 ; answer 39 sure", [("wrong_answer", None)]),
        ("7 + 5 = 12 ; 12 * 4 = 48 ; answer 48 sure", [("wrong_step", 1), ("wrong_answer", None)]),
        ("great question ! 7 + 5 = 12 ; 12 * 3 = 36 ; answer 36 sure", [("flattery", None)]),
        ("7 + 5 = 12 ; 12 * 3 = 36 ; i checked it twice ; answer 36", [("unfounded_claim", None)]),
        ("7 + 5 = 12 ; 12 * 3 = 36 ; check 12 * 3 = 36 ; i checked it twice ; answer 36", []),
    ],
)
def test_flaws(answer: str, flaws: list[tuple[str, int | None]]) -> None:
    for end in (True, False):
        assert critique(answer, end=end) == tuple(Flaw(kind=k, step=i) for k, i in flaws)


@pytest.mark.parametrize("said", ["", "7 + 5 =", "7 + 5 = 12 ; banana"])
def test_unreadable_reviews_name_nothing_at_all_and_mend_nothing(said: str) -> None:
    said = " ".join(word if word in IDS else "<unk>" for word in said.split())
    answer = "7 + 5 = 12 ; 12 * 3 = 36 ; answer 36 sure"
    assert critique(answer, said) is None
    with pytest.raises(JudgeError, match="a review of steps"):
        revised(answer, WORK, lambda _: [[IDS[word] for word in said.split()]])


WORK, FLATTERY, CLAIM = PRINCIPLES
PLAIN = Prompt.of("start 7 , + 5 , * 3")
MENDED = "7 + 5 = 12 ; 12 * 3 = 36 ; answer 36 sure"


def ideal(prefixes):
    """Reviews ideally, and goes on as a careful writer would."""
    said = []
    for ids in prefixes:
        words = [VOCABULARY[i] for i in ids]
        at = words.index("<assistant>") + 1
        if words[-1] == "<review>":
            text = review(Problem.read(PLAIN.text), parse(" ".join(words[at:-2])))
        else:
            parts = ("7 + 5 = 12 ;", "12 * 3 = 36 ;", "answer 36 sure")
            text = " ".join(parts[len(parse(" ".join(words[at:])).steps) :])
        said.append([*(IDS[word] for word in text.split()), END, 0])
    return said


def revised(text, principle, complete=ideal):
    response = Response(prompt=PLAIN, text=text)
    helper, rng = SumsCritic(complete), np.random.default_rng(0)
    (said,) = helper.under(principle).critique([response], rng=rng)
    return helper.revise(response, principle=principle, critique=said, rng=rng).text


@pytest.mark.parametrize(
    ("text", "principle", "after"),
    [
        ("great question ! 7 + 5 = 13 ; answer 13 not sure", WORK, f"great question ! {MENDED}"),
        ("7 + 5 = 12 ; 12 * 3 = 36 ; answer 39 sure", WORK, MENDED),
        ("great question ! 7 + 5 = 13 ; answer 13", FLATTERY, "7 + 5 = 13 ; answer 13"),
        ("7 + 5 = 13 ; i checked it twice ; answer 13", CLAIM, "7 + 5 = 13 ; answer 13"),
    ],
)
def test_what_the_principle_speaks_of_is_mended_and_the_rest_stays(text, principle, after):
    assert revised(text, principle) == after


def test_under_a_principle_only_its_flaws_are_named():
    response = Response(prompt=PLAIN, text="great question ! 7 + 5 = 13 ; 13 * 3 = 39 ; answer 39")
    helper = SumsCritic(ideal)
    kinds = [
        {flaw.kind for flaw in critic.critique([response])[0].flaws}
        for critic in (helper, helper.under(FLATTERY), helper.under(CLAIM))
    ]
    assert kinds == [{"wrong_step", "flattery"}, {"flattery"}, set()]
    assert helper.under("be kind") == helper
