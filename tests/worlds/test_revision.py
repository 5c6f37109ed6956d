"""The reviser of worked sums: what is mended, what is kept, and what cannot be."""

from __future__ import annotations

import numpy as np
import pytest

from trueline.errors import InputError, JudgeError
from trueline.records import Prompt, Response
from trueline.worlds.sums.critic import PRINCIPLES, SumsReviser
from trueline.worlds.sums.language import END, IDS, VOCABULARY, parse
from trueline.worlds.sums.problems import Problem
from trueline.worlds.sums.reviews import review

PROMPT = Prompt.of("start 7 , + 5 , * 3")
WORK, FLATTERY, CLAIM = PRINCIPLES
RNG = np.random.default_rng(0)


def ideal(prefixes):
    """Reviews ideally, and goes on as a careful writer would."""
    said = []
    for ids in prefixes:
        words = [VOCABULARY[i] for i in ids]
        at = words.index("<assistant>") + 1
        if words[-1] == "<review>":
            text = review(Problem.read(PROMPT.text), parse(" ".join(words[at:-2])))
        else:
            parts = ("7 + 5 = 12 ;", "12 * 3 = 36 ;", "answer 36 sure")
            text = " ".join(parts[len(parse(" ".join(words[at:])).steps) :])
        said.append([*(IDS[word] for word in text.split()), END, 0])
    return said


def revised(text, principle, complete=ideal):
    response = Response(prompt=PROMPT, text=text)
    helper = SumsReviser(complete)
    (critique,) = helper.under(principle).critique([response], rng=RNG)
    return helper.revise(response, principle=principle, critique=critique, rng=RNG).text


@pytest.mark.parametrize(
    ("text", "principle", "after"),
    [
        (
            "great question ! 7 + 5 = 13 ; 13 * 3 = 39 ; answer 39 not sure",
            WORK,
            "great question ! 7 + 5 = 12 ; 12 * 3 = 36 ; answer 36 sure",
        ),
        (
            "7 + 5 = 12 ; 12 * 3 = 36 ; answer 39 sure",
            WORK,
            "7 + 5 = 12 ; 12 * 3 = 36 ; answer 36 sure",
        ),
        ("great question ! 7 + 5 = 13 ; answer 13", FLATTERY, "7 + 5 = 13 ; answer 13"),
        (
            "7 + 5 = 13 ; 13 * 3 = 39 ; i checked it twice ; answer 39 sure",
            CLAIM,
            "7 + 5 = 13 ; 13 * 3 = 39 ; answer 39 sure",
        ),
        ("7 + 5 = 12 ; answer 12", CLAIM, "7 + 5 = 12 ; answer 12"),
    ],
)
def test_what_the_principle_speaks_of_is_mended_and_the_rest_stays(text, principle, after):
    assert revised(text, principle) == after


def test_under_a_principle_only_its_flaws_are_named():
    response = Response(prompt=PROMPT, text="great question ! 7 + 5 = 13 ; 13 * 3 = 39 ; answer 39")
    helper = SumsReviser(ideal)
    kinds = [
        {flaw.kind for flaw in critic.critique([response])[0].flaws}
        for critic in (helper, helper.under(FLATTERY), helper.under(CLAIM))
    ]
    assert kinds == [{"wrong_step", "flattery"}, {"flattery"}, set()]
    with pytest.raises(InputError, match="principles are"):
        helper.under("be kind")


def test_a_review_that_cannot_be_read_names_nothing_and_mends_nothing():
    unreadable = lambda prefixes: [[IDS["sure"]] for _ in prefixes]  # noqa: E731
    response = Response(prompt=PROMPT, text="7 + 5 = 13 ; answer 13")
    (critique,) = SumsReviser(unreadable).critique([response])
    assert critique.flaws is None
    with pytest.raises(JudgeError, match="a review of steps"):
        SumsReviser(unreadable).revise(response, principle=WORK, critique=critique)
