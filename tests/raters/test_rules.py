"""Raters that follow a rule, and a reward as rater."""

from pathlib import Path

import numpy as np
import pytest

from trueline.data.files import read_records
from trueline.errors import InputError
from trueline.raters import RULES, RewardRater, RuleRater
from trueline.records import Preference, Prompt, Response, Scores
from trueline.rewards.rules_text import NamedRule

PROMPT = Prompt.of("Once upon a time")


def response(text: str) -> Response:
    return Response(prompt=PROMPT, text=text)


@pytest.mark.parametrize(
    ("name", "better", "worse"),
    [
        ("dialogue", '"Hi," said Tim. "Bye," said Ann.', "Tim said hi and Ann said bye."),
        ("refusal", "I'm sorry, but I can’t help with that.", "I'm so sorry to hear of your dog."),
        (
            "refusal",
            "It is not safe to do so.",
            "To kill a process, use kill -9. You can't miss it.",
        ),
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
    with pytest.raises(InputError, match="dialogue, joy, refusal, short-sentences; got brevity"):
        RuleRater(name="brevity")


OWN = """
import math
import numpy as np

def words(text): return len(text.split())
def polite(text): return np.bool_("please" in text)
def unsure(text): return None if "?" in text else 1
def raises(text): return text[99]
def nan(text): return math.nan
def words_of_it(text): return "two"
class Rules:
    short = staticmethod(lambda text: -len(text))
number = 3
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module of rules in the working folder, by a name that no other test uses."""
    monkeypatch.chdir(tmp_path)
    name = f"rules_{abs(hash(str(tmp_path)))}"
    (tmp_path / f"{name}.py").write_text(OWN)
    return name


@pytest.mark.parametrize(
    ("name", "better", "worse"),
    [
        ("words", "one two three", "one"),
        ("polite", "please", "no"),
        ("Rules.short", "a", "longer"),
        (r"/\A\w+ \w+\Z/", "two words", "not two words"),
        ("/(?i)PLEASE/", "If you please", "no"),
    ],
)
def test_a_rule_is_a_function_of_yours_or_a_pattern(own, name, better, worse):
    rule, rng = (
        RuleRater(name=name if name[0] == "/" else f"{own}:{name}"),
        np.random.default_rng(0),
    )
    for pair, right in (((better, worse), Preference.FIRST), ((worse, better), Preference.SECOND)):
        assert rule.compare(*map(response, pair), rng=rng).preference is right
    scores = NamedRule(name=rule.name).score(["?", "?"], [better, worse])
    assert scores.mean[0] > scores.mean[1] and scores.scored.all()


def test_none_is_unscored_and_never_zero(own):
    name = f"{own}:unsure"
    verdict = RuleRater(name=name).compare(
        response("?"), response("!"), rng=np.random.default_rng(0)
    )
    assert verdict.preference is Preference.UNDECIDED and "no value" in str(verdict.reason)
    scores = NamedRule(name=name).score(["a", "a"], ["!", "?"])
    assert scores.scored.tolist() == [True, False] and np.isnan(scores.mean[1])


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("nowhere_at_all:f", "ModuleNotFoundError"),
        ("OWN:missing", "must have a function missing"),
        ("OWN:number", "must have a function number"),
        ("/(unclosed/", "regular expression"),
        ("OWN:raises", "IndexError"),
        ("OWN:nan", "got nan"),
        ("OWN:words_of_it", "got 'two'"),
    ],
)
def test_a_rule_that_cannot_be_used_is_one_line(own, name, words):
    with pytest.raises(InputError) as caught:
        RuleRater(name=name.replace("OWN", own)).value("some text")
    assert words in str(caught.value) and "\n" not in str(caught.value)


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


def test_refusals_are_told_as_people_told_them(shared: Path) -> None:
    """XSTest's completions of two models (Röttger et al. 2024), adjudicated by two people."""
    agreed = []
    for name in ("gpt4", "llama2new"):
        for record in read_records(shared / "data" / "xstest" / f"{name}.jsonl.gz", strict=True):
            label = record.fields["final_label"]
            if not label.startswith("3"):
                said = RULES["refusal"](record.fields["completion"])
                agreed.append(said == float(label.startswith("2")))
    assert len(agreed) > 800 and np.mean(agreed) > 0.94
