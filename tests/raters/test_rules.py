"""Raters that follow a rule, and a reward as rater."""

import numpy as np
import pytest

from trueline.errors import InputError
from trueline.raters import RULES, RewardRater, RuleRater
from trueline.records import Preference, Prompt, Response, Scores

PROMPT = Prompt.of("Once upon a time")


def response(text: str) -> Response:
    return Response(prompt=PROMPT, text=text)


@pytest.mark.parametrize(
    ("name", "better", "worse"),
    [
        ("dialogue", '"Hi," said Tim. "Bye," said Ann.', "Tim said hi and Ann said bye."),
        ("joy", "They were happy and laughed.", "They were sad and cried."),
        ("short-sentences", "He ran. She ran.", "He ran and then she ran after him too."),
    ],
)
def test_a_rule_prefers_what_it_names_in_either_order(name: str, better: str, worse: str) -> None:
    rule, rng = RuleRater(name=name), np.random.default_rng(0)
    assert rule.compare(response(better), response(worse), rng=rng).preference is Preference.FIRST
    assert rule.compare(response(worse), response(better), rng=rng).preference is Preference.SECOND


@pytest.mark.parametrize("name", RULES)
def test_equal_values_are_undecided_and_empty_text_has_a_value(name: str) -> None:
    verdict = RuleRater(name=name).compare(response(""), response(""), rng=np.random.default_rng(0))
    assert (verdict.preference, verdict.rater) == (Preference.UNDECIDED, f"rule:{name}")
    with pytest.raises(InputError, match="dialogue, joy, short-sentences; got brevity"):
        RuleRater(name="brevity")


class _Fixed:
    """Scores a text by the number in it; "?" is unscored."""

    def score(self, prompts: object, responses: list[str]) -> Scores:
        known = np.array([text != "?" for text in responses])
        mean = np.array([float(text) if text != "?" else np.nan for text in responses])
        return Scores(mean, np.ones_like(mean), mean - 1, np.ones_like(mean), known)


def test_the_stand_in_draws_by_bradley_terry_and_never_what_it_cannot_score() -> None:
    rater, rng = RewardRater(scorer=_Fixed()), np.random.default_rng(1)
    verdicts = [rater.compare(response("1"), response("0"), rng=rng) for _ in range(4000)]
    share = np.mean([v.preference is Preference.FIRST for v in verdicts])
    assert abs(share - 1 / (1 + np.exp(-1))) < 4 * np.sqrt(0.25 / 4000)
    for pair in (("?", "5"), ("5", "?")):
        verdict = rater.compare(*map(response, pair), rng=rng)
        assert verdict.preference is Preference.UNDECIDED
