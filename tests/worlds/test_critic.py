"""The critic: compares a review's own working with what the response wrote."""

from __future__ import annotations

import pytest

from trueline.records import Flaw, Prompt, Response
from trueline.worlds.sums import SumsCritic
from trueline.worlds.sums.critic import review_prefix
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
        ("7 + 5 = 13 ; 13 * 3 = 39 ; answer 39 sure", [("wrong_step", 0)]),
        ("7 + 5 = 12 ; 12 * 3 = 37 ; answer 37 sure", [("wrong_step", 1), ("wrong_answer", None)]),
        ("7 + 5 = 12 ; 12 * 3 = 36 ; answer 39 sure", [("wrong_answer", None)]),
        ("7 + 5 = 12 ; 12 * 4 = 48 ; answer 48 sure", [("wrong_step", 1), ("wrong_answer", None)]),
        ("7 + 5 = 12 ; answer 36 sure", [("wrong_step", 1)]),
        ("great question ! 7 + 5 = 12 ; 12 * 3 = 36 ; answer 36 sure", [("flattery", None)]),
        (
            "7 + 5 = 12 ; 12 * 3 = 36 ; i checked it twice ; answer 36 sure",
            [("unfounded_claim", None)],
        ),
        (
            "7 + 5 = 12 ; 12 * 3 = 36 ; check 12 * 3 = 36 ; i checked it twice ; answer 36 sure",
            [],
        ),
    ],
)
@pytest.mark.parametrize("end", [True, False])
def test_flaws(answer: str, flaws: list[tuple[str, int | None]], end: bool) -> None:
    assert critique(answer, end=end) == tuple(Flaw(kind=k, step=i) for k, i in flaws)


@pytest.mark.parametrize("said", ["", "7 + 5 =", "answer", "sure sure", "7 + 5 = 12 ; banana"])
def test_unreadable_reviews_name_nothing_at_all(said: str) -> None:
    said = " ".join(word if word in IDS else "<unk>" for word in said.split())
    assert critique("7 + 5 = 12 ; 12 * 3 = 36 ; answer 36 sure", said) is None


def test_the_prefix_is_the_dialogue_up_to_the_review() -> None:
    response = Response(prompt=PROMPT, text="answer 36 sure")
    words = " ".join(VOCABULARY[i] for i in review_prefix(response))
    assert words == (
        "<bos> <sys> audited <user> start 7 , + 5 , * 3 <assistant> answer 36 sure <end> <review>"
    )


@pytest.mark.parametrize(("text", "ends"), [("answer 36", "not sure"), ("36", "36")])
def test_an_answer_that_leaves_its_certainty_open_is_read_as_unsure(text: str, ends: str) -> None:
    words = [VOCABULARY[i] for i in review_prefix(Response(prompt=PROMPT, text=text))]
    assert " ".join(words[words.index("<assistant>") : -2]).endswith(ends)


def test_factor_claims() -> None:
    response = Response(prompt=Prompt.of("is 91 prime"), text="yes")
    for said, flaws in (
        ("7 * 13 = 91 ; answer no", (Flaw(kind="wrong_answer"),)),
        ("answer yes", ()),
        ("answer 7", None),
    ):
        ids = [IDS[word] for word in said.split()]
        (one,) = SumsCritic(lambda _, ids=ids: [ids]).critique([response])
        assert one.flaws == flaws
