"""Rules: what is right, what is a definite wrong, and what the checker cannot say."""

from __future__ import annotations

import contextlib
import time
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.rewards.hostile import FUNCTIONS
from trueline.errors import InputError, SetupError
from trueline.protocols import Scorer
from trueline.records import Prompt, Scores
from trueline.rewards import rules_apart
from trueline.rewards.rules import (
    Exact,
    Extract,
    JsonSchema,
    Regex,
    after,
    boxed,
    last_number,
    whole,
)
from trueline.rewards.rules_code import UnitTest
from trueline.rewards.rules_numbers import Unreadable, number, read, value
from trueline.rewards.rules_proof import Arithmetic, Equivalent, Logic, equations, exactly
from trueline.rewards.sandbox import Limits


def outcome(scores: Scores, i: int = 0) -> float | str:
    """The number of a row, or the reason why it has none."""
    score = scores[i]
    return score.reason if score.mean is None else score.mean


def answers(scorer: Scorer, texts: list[str], **meta: Any) -> list[float | str]:
    scores = scorer.score([Prompt.of("?", **meta)] * len(texts), texts)
    return [outcome(scores, i) for i in range(len(texts))]


# Numbers and formulas.


@pytest.mark.parametrize(
    ("text", "is_number"),
    [
        ("1,000", 1000), ("1e3", 1000), ("0.50", Fraction(1, 2)), ("1/2", Fraction(1, 2)),
        ("−7", -7), ("- 7", -7), ("$18", 18), (r"\$1,234.50.", Fraction(2469, 2)),
        ("50%", Fraction(1, 2)),
        (r"\frac{1}{2}", Fraction(1, 2)), (r"-\frac{3}{4}", Fraction(-3, 4)),
        (".5", Fraction(1, 2)),
        ("+3", 3), ("3 4", None), ("1,00", None), ("12,345,6", None), ("7 apples", None),
        ("", None),
        ("1/0", None), ("1e9999", None), ("9" * 5000, None), ("1.2.3", None), ("nan", None),
        ("inf", None), ("0x10", None), ("1_000", None), ("2+3", None),
    ],
)  # fmt: skip
def test_what_is_a_number(text: str, is_number: Fraction | None) -> None:
    assert number(text) == is_number


@given(st.fractions(), st.fractions())
def test_numbers_and_sums_are_exact(a: Fraction, b: Fraction) -> None:
    assert number(str(a)) == a
    assert value(read(f"({a}) + ({b}) * ({a}) - ({b})")) == a + b * a - b


@pytest.mark.parametrize(
    ("text", "result"),
    [("-2^2", -4), ("2^3^2", 512), ("10 − 4 − 3", 3), ("8 ÷ 4 ÷ 2", 1), ("2(3 + 4)", 14),
     ("150% × 2", 3), (r"\frac{1}{2} \times 4", 2), ("2^-1", Fraction(1, 2)),
     ("(-1)^99999999", -1)],
)  # fmt: skip
def test_formulas_bind_as_usual(text: str, result: Fraction) -> None:
    assert value(read(text)) == result


@pytest.mark.parametrize(
    "text",
    ["9^9^9^9", "(" * 10_000, "1+" * 10_000 + "1", "-" * 10_000 + "1", "2**10000000", "1e9999",
    "(1", "1 2",
     "__import__('os').system('true')", "(lambda: 0)()", "a.b", "[1]", "", "+", "9" * 2000,
     "*".join(["99999999"] * 190)],
)  # fmt: skip
def test_hostile_formulas_are_unreadable_and_cheap(text: str) -> None:
    started = time.process_time()
    with pytest.raises(Unreadable):
        value(read(text))
    assert time.process_time() - started < 0.5


@given(st.text(alphabet=r"0123456789+-*/^()=%., x$\{}<>~&|abfrcsqt" + "\n", max_size=80))
def test_any_text_is_read_or_refused(text: str) -> None:
    with contextlib.suppress(Unreadable, ZeroDivisionError):
        value(read(text))
    assert Arithmetic().judge(text) in (0.0, 1.0) or isinstance(Arithmetic().judge(text), str)
    for response in answers(Exact(), [text], answer="12"):
        assert response in (0.0, 1.0)


# Exact.


@pytest.mark.parametrize(
    ("expected", "text", "extract", "right"),
    [
        ("18", "18", whole, 1), (18, "18.0", whole, 1), (0.5, "1/2", whole, 1), ("18",
        "19", whole, 0),
        ("1000", r"so \boxed{1{,}000}", None, 1), (r"\frac{1}{2}", r"\boxed{\frac12}", None, 1),
        ("42", "6 * 7\n#### 42", None, 1), ("42", "#### 41\n#### 42", None, 1), ("42",
        "it is 42", None, 0),
        ("42", "it is 42 apples.", last_number, 1), ("-3", "so 7 - 10 = -3", last_number, 1),
        ("3", "7-3", last_number, 1), ("Paris", "  paris.\n", whole, 1), ("New York",
        "new   york", whole, 1),
        ("B", "Answer: B\nbecause", after("Answer:"), 1), ("B", "no answer", after("Answer:"), 0),
        ("5", "no box", boxed, 0), ("5", "\\boxed{5", boxed, 0), (["yes", "y"], "Y", whole, 1),
        ("6 * 7 is 42\n#### 42", "#### 42", None, 1), ("5", "", whole, 0),
        ("nan", "nan", whole, 1), ("1", "True", whole, 0),
    ],
)  # fmt: skip
def test_exact(expected: Any, text: str, extract: Extract | None, right: int) -> None:
    rule = Exact() if extract is None else Exact(extract=extract)
    assert answers(rule, [text], answer=expected) == [float(right)]


def test_no_expected_answer_is_no_score() -> None:
    for rule in (Exact(), Equivalent(), UnitTest(), Logic()):
        for meta in ({}, {"answer": None}, {"answer": ""}):
            (said,) = answers(rule, ["18"], **meta)
            assert isinstance(said, str) and "holds no" in said
    scores = Exact().score([Prompt.of("?", answer=1), "?"], ["1", "1"])
    assert scores.scored.tolist() == [True, False] and np.isnan(scores.mean[1])
    assert scores[0].interval == (1.0, 1.0) and scores.std[0] == 0.0


def test_rules_are_scorers_and_refuse_uneven_input() -> None:
    rules = [
        Exact(),
        Regex(must=("a",)),
        JsonSchema(schema={}),
        UnitTest(),
        Arithmetic(),
        Equivalent(),
        Logic(),
    ]
    for rule in rules:
        assert isinstance(rule, Scorer)
        assert len(rule.score([], [])) == 0
        with pytest.raises(InputError, match="as many"):
            rule.score(["?"], [])


# Regex.


def test_regex() -> None:
    rule = Regex(must=(r"^yes",), never=(r"\bsorry\b",))
    assert answers(rule, ["yes", "yes, sorry", "no"]) == [1.0, 0.0, 0.0]
    with pytest.raises(InputError, match="regular expression"):
        Regex(must=("(",))
    with pytest.raises(InputError, match="must be a pattern"):
        Regex()


def test_backtracking_gives_no_score_and_does_not_hang() -> None:
    started = time.monotonic()
    rule = Regex(must=(r"^(a|aa|a?)+$", "b"), pattern_s=0.1)
    # The second is decided by the other pattern, whatever the slow one would say.
    late, decided = answers(rule, ["a" * 60 + "!b", "a" * 60 + "!"])
    assert isinstance(late, str) and "took over" in late and decided == 0.0
    assert time.monotonic() - started < 10


# JSON.

SCHEMA = {
    "type": "object",
    "properties": {"n": {"type": "integer"}, "s": {"type": "string", "pattern": "^(a|aa)+$"}},
    "required": ["n"],
}


def test_json_schema() -> None:
    texts = {
        '{"n": 1}': 1, 'Here:\n```json\n{"n": 1}\n```\nDone': 1, '```\n{"n": 1}\n```': 1,
        'so {"n": 1} it is': 1,
        '{"n": 1.5}': 0, '{"n": "1"}': 0, "{}": 0, "": 0, "no": 0, '{"n": 1': 0, '{"n": NaN}': 0,
        "[": 0,
        '{"n": 1e999}': 0, '{"n": 1, "n": 2}': 0, '{"n": ' + "9" * 5000 + "}": 0, "[" * 100_000: 0,
        '{"a":' * 200 + "1" + "}" * 200: 0, '{"n": 1}}': 1, "```json\n{'n': 1}\n```": 0,
    }  # fmt: skip
    assert answers(JsonSchema(schema=SCHEMA), list(texts)) == [float(v) for v in texts.values()]


def test_what_the_checker_of_json_cannot_say() -> None:
    slow = '{"n": 1, "s": "' + "a" * 60 + '!"}'
    said = answers(JsonSchema(schema=SCHEMA), ['{"n": 1}', slow, '{"n": 2}'])
    assert said[0] == said[2] == 1.0 and "took over" in str(said[1])
    (far,) = answers(JsonSchema(schema={"$ref": "http://127.0.0.1:9/x.json"}), ["{}"])
    assert "refers to what it does not hold" in str(far)
    with pytest.raises(InputError, match="JSON schema"):
        JsonSchema(schema={"type": "no such type"})


def test_a_missing_library_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules_apart.importlib.util, "find_spec", lambda name: None)
    for make in (Equivalent, Logic, lambda: JsonSchema(schema={})):
        with pytest.raises(SetupError, match=r"trueline\[rules\]"):
            make()


# Arithmetic.


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("7 + 5 = 12 ; 12 * 3 = 36", 1), ("7 + 5 = 12 ; 12 * 3 = 37", 0), ("7 + 5 makes 12 ,", 1),
        ("no sums", 0),
        ("9 * 2 = $<<9*2=19>>18 a day", 1), ("- 7 + 5 = 12\n- 12 x 3 = 36", 1),
        ("1. 3+4=7\n2. 7-4=3", 1),
        ("x = 3 + 4 = 7", 1), ("(7+5=12)", 1), ("100/3 = 33.33", 1), ("100/3 = 33.34", 0),
        ("100/3 = 33", 0),
        ("80,000*1.5=120,000, so", 1), ("5/0 = 3", 0), ("3 apples + 5 = 8", 0),
        ("2 + 2 = 4 = 5 - 1", 1),
        ("12 * 3 = 36 - 4 = 32", 0), ("5 / 2 = 2 1/2", 1), ("100 − 60 = 40%", 1),
        ("50% × 8 = 4", 1), ("2 + 2 = ", 0),
        ("60 / 15 = 4 (15 minutes each)", 1), ("0.1 + 0.2 = 0.30000000000000004", 1),
    ],
)  # fmt: skip
def test_arithmetic(text: str, right: int) -> None:
    assert answers(Arithmetic(), [text]) == [float(right)]


def test_arithmetic_beyond_limits_is_unscored_unless_another_step_is_wrong() -> None:
    late, wrong = answers(Arithmetic(), ["9^99999999 = 3", "9^99999999 = 3 ; 1 + 1 = 3"])
    assert "too large" in str(late) and wrong == 0.0
    assert answers(Arithmetic(agree=exactly), ["1 / 3 = 0.33", "1 / 4 = 0.25"]) == [0.0, 1.0]


@given(st.text(alphabet="0123456789+-*/^()=%., \nx", max_size=300))
def test_equations_of_any_text(text: str) -> None:
    assert all(len(sides) > 1 for sides in equations(text))


@pytest.mark.parametrize(
    "text", ["(" * 20_000 + "=", "1+" * 20_000 + "1=2", "=" * 20_000, "1 " * 20_000]
)
def test_long_texts_take_no_time(text: str) -> None:
    started = time.process_time()
    Arithmetic().judge(text)
    assert time.process_time() - started < 2


# Expressions and logic.


def test_equivalent_expressions() -> None:
    """In one call: what cannot be compared is unscored, and harms no other row."""
    square, one, root = "(x+1)^2", "sin(x)^2 + cos(x)^2", "sqrt(8)"
    rows: list[tuple[str, str, float | str]] = [
        (square, "x^2 + 2x + 1", 1.0), (square, r"\boxed{(1+x)^2}", 1.0), (square, "x^2 + 1", 0.0),
        (square, "(x^3+3x^2+3x+1)/(x+1)", 1.0), (square, "", 0.0), (one, "1", 1.0),
        (one, "cos(x)", 0.0),
        ("x", "x^(10^9)", "too large"), ("x", "os.system('x')", "cannot be read"), ("x", "x", 1.0),
        (root, "2sqrt(2)", 1.0), (root, r"2\sqrt{2}", 1.0), (root, "2.83", 0.0),
    ]  # fmt: skip
    asked = [Prompt.of("?", answer=right) for right, _, _ in rows]
    scores = Equivalent().score(asked, [text for _, text, _ in rows])
    for i, (_, text, expected) in enumerate(rows):
        said = outcome(scores, i)
        assert said == expected or (isinstance(expected, str) and expected in str(said)), text


CHAIN = {"premises": ["p -> q", "q -> r", "p"], "conclusion": "r"}


def test_logic() -> None:
    texts = {
        "p -> q, p ⊢ q\nq -> r, q |- r.": 1, "⊢ r": 1, "so r": 0, "⊢ q": 0, "⊢ ~r": 0, "s ⊢ r": 0,
        "false ⊢ r": 0, "s, ~s ⊢ r": 0, "⊢ q and r": 1, "⊢ s -> r": 0, "⊢ r or s": 0,
    }  # fmt: skip
    assert answers(Logic(), list(texts), **CHAIN) == [float(v) for v in texts.values()]


def test_logic_of_whole_numbers_with_a_counter_model() -> None:
    ask = Prompt.of("?", premises=["x > 2", "y = x + 1"], conclusion="y >= 4")
    logic = Logic()
    assert answers(logic, ["⊢ x >= 3\n⊢ y >= 4", "⊢ x >= 4\n⊢ y >= 4"], **ask.meta) == [1.0, 0.0]
    (steps,) = logic.check([ask], ["⊢ x >= 4"])
    assert steps[0].proved is False and "x = 3" in steps[0].why  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("meta", "text", "why"),
    [
        ({"premises": ["p", "~p"], "conclusion": "q"}, "⊢ q", "contradict"),
        ({"conclusion": "forall x. x"}, "⊢ q", "cannot be read"),
        (CHAIN, "⊢ for all x: r", "cannot be read"),
        (CHAIN, "⊢ p > 2", "both as"),
        ({"premises": ["x*x*x + y*y*y = z*z*z", "x > 0",
        "y > 0"], "conclusion": "z != 5 * x + 7 * y * z"},
         "⊢ z != 5 * x + 7 * y * z", ""),
    ],
)  # fmt: skip
def test_what_logic_cannot_say(meta: dict[str, Any], text: str, why: str) -> None:
    (said,) = answers(Logic(), [text], **meta)
    assert (isinstance(said, str) and why in said) or (not why and said in (0.0, 1.0))


# Code.


def test_unit_tests_tell_right_code_from_wrong() -> None:
    prompts, texts = [], []
    for name, (right, wrong, tests) in FUNCTIONS.items():
        for body in (right, wrong):
            prompts.append(Prompt.of(f"write {name}", tests=tests, entry_point=name))
            texts.append(f"Sure:\n```python\ndef {name}(n):\n    {body}\n```\nThat is it.")
    scores = UnitTest(limits=Limits(wall_s=30.0)).score(prompts, texts)
    if not scores.scored.all():
        pytest.skip(f"this machine cannot lock a process: {scores.reasons}")
    np.testing.assert_array_equal(scores.mean, [1.0, 0.0] * len(FUNCTIONS))


def test_no_code_is_wrong_and_broken_tests_are_unscored() -> None:
    assert answers(UnitTest(), ["", "```sh\nls\n```"], tests="assert f(1)") == [0.0, 0.0]
    (said,) = answers(UnitTest(), ["def f(x): return 1"], tests="assert (")
    assert isinstance(said, str)


def test_memory_of_a_worker_is_bounded() -> None:
    (said,) = rules_apart.each(
        "equivalent", "sympy", [(["name", "x"], ["name", "x"])], memory_mb=20
    )
    assert "unscored" in said
