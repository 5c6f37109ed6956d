"""Rules: what is right, what is a definite wrong, and what the checker cannot say."""

from __future__ import annotations

import dataclasses
import gzip
import json
import re
import time
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trueline.errors import InputError
from trueline.protocols import Scorer
from trueline.records import Comparison, Prompt, Response
from trueline.rewards import rules_exact
from trueline.rewards.protocols import load_reward
from trueline.rewards.rules import Rule
from trueline.rewards.rules_arithmetic import Arithmetic, asked_for, equations, holds, value
from trueline.rewards.rules_code import UnitTest
from trueline.rewards.rules_exact import Exact, number
from trueline.rewards.rules_proof import Proof
from trueline.rewards.rules_text import JsonSchema, MaxSentences, MaxWords, Regex
from trueline.testing import FakeTrunk
from trueline.worlds.sums.language import parse, render
from trueline.worlds.sums.problems import draw_problem
from trueline.worlds.sums.writers import draw_writer, write

EXAMPLES: dict[str, Rule] = {
    "arithmetic": Arithmetic(),
    "exact": Exact(expected="truth"),
    "json_schema": JsonSchema(schema={"type": "object", "required": ["n"]}),
    "max_sentences": MaxSentences(n=2),
    "max_words": MaxWords(n=3),
    "proof": Proof(max_atoms=3),
    "regex": Regex(must=("a",), never=("b", "c")),
    "unit_test": UnitTest(cpu_s=1),
}


def answers(rule: Rule, texts: list[str], ask: str = "?", **meta: Any) -> list[float | str]:
    return rule.grade([Response(prompt=Prompt.of(ask, **meta), text=text) for text in texts])


# What all of them share.


@pytest.mark.parametrize("kind", sorted(EXAMPLES))
def test_a_rule_lives_like_a_learned_reward(kind: str, tmp_path: Path) -> None:
    rule, trunk = EXAMPLES[kind], FakeTrunk()
    assert rule.kind == kind and isinstance(rule, Scorer)
    prompt = Prompt.of("1 + 1", truth="a", answer="2", conclusion="p", premises=["p"])
    given = [Response(prompt=prompt, text=t) for t in ("a", '{"n": 1}', "1 + 1 = 2", "1. p [P1]")]
    readings = trunk.read(given)
    pair = Comparison(chosen=given[0], rejected=given[1])
    fitted = rule.fit(readings, [pair], rng=np.random.default_rng(0))
    scores = fitted.score(readings)
    assert np.all(scores.std == 0.0)
    fitted.save(tmp_path / "reward")
    again = load_reward(tmp_path / "reward", trunk)
    assert again == fitted.with_lower_bound(3.0) and again.summary()["kind"] == kind
    texts = again.on(trunk).score([prompt] * 4, [r.text for r in given])
    np.testing.assert_array_equal(texts.mean, scores.mean)
    if scores.scored.all():
        mean, std = again.margin(readings, [0, 1], [1, 1])
        assert mean[0] == scores.mean[0] - scores.mean[1] and mean[1] == 0 and not std.any()
    with pytest.raises(InputError, match=r"trunk\.read"):
        fitted.score(dataclasses.replace(readings, responses=None))


def test_no_expected_answer_is_no_score() -> None:
    for rule in (Exact(), Proof(), UnitTest()):
        for meta in ({}, {"answer": None}, {"answer": ""}, {"conclusion": " ", "tests": []}):
            (said,) = answers(rule, ["18"], **meta)
            assert "holds no" in str(said)
    scores = Exact().score([Prompt.of("?", answer=1), "?"], ["1", "1"])
    assert scores.scored.tolist() == [True, False] and scores[0].rater_interval == (1.0, 1.0)


# Numbers, formulas, exact answers.


@given(st.fractions(), st.fractions())
def test_sums_are_exact(a: Fraction, b: Fraction) -> None:
    assert value(f"({a}) + ({b}) * ({a}) - ({b})") == a + b * a - b
    assert number(str(a)) == a


@pytest.mark.parametrize(
    "text",
    ["9^9^9^9", "(" * 10_000, "1+" * 10_000 + "1", "-" * 390 + "1", "2^10000000", "(1",
     "__import__('os').system('true')", "", "9" * 2000, "*".join(["99999999"] * 44), "1 // 2"],
)  # fmt: skip
def test_hostile_formulas_are_unreadable_and_cheap(text: str) -> None:
    started = time.process_time()
    try:
        assert value(text) in (1, -1) or len(text) < 400
    except ValueError:
        pass
    else:
        assert text[0] == "-" or "*" in text
    answers(Arithmetic(), [f"{text}=2"], answer=1)
    assert time.process_time() - started < 2


@pytest.mark.parametrize(
    ("expected", "text", "extract", "right"),
    [
        (18, "18.0", "final", 1), (0.5, "1/2", "final", 1), ("18", "19", "final", 0),
        ("1000", r"so \boxed{1{,}000}", "final", 1), ("42", "#### 41\n#### 42", "final", 1),
        ("42", "it is 42", "final", 0), ("-3", "so 7 - 10 = -3", "last_number", 1),
        ("3", "7-3", "last_number", 1), ("New York", " new   york.\n", "final", 1),
        ("B", "Answer: B\nbecause", "after:Answer:", 1), ("B", "no answer", "after:Answer:", 0),
        ("1/2", "50%", "final", 1), ("-7", "− 7", "final", 1), (1234.5, r"\$1,234.50.", "final", 1),
        ("1e9999", "nan", "final", 0), ("9" * 5000, "0x10", "final", 0), ("34", "3 4", "final", 0),
        ("100", "1,00", "final", 0), ("1/0", "1", "final", 0),
        ("5", "\\boxed{5", "final", 0), (["yes", "y"], "Y", "final", 1),
        ("6 * 7 is 42\n#### 42", "#### 42", "final", 1), ("1", "True", "final", 0),
    ],
)  # fmt: skip
def test_exact(expected: Any, text: str, extract: str, right: int) -> None:
    assert answers(Exact(extract=extract), [text], answer=expected) == [float(right)]


def test_formulas_are_compared_by_what_they_mean() -> None:
    """In one call: what cannot be compared harms no other row."""
    square = "(x+1)^2"
    rows: list[tuple[Any, str, float]] = [
        (square, "x^2 + 2x + 1", 1.0), (square, r"\boxed{(1+x)^2}", 1.0), (square, "x^2 + 1", 0.0),
        (square, "(x^3+3x^2+3x+1)/(x+1)", 1.0), (square, "", 0.0), (square, "x**2+2*x+1", 1.0),
        (r"\sqrt{8}", r"2\sqrt{2}", 1.0), ("sqrt(8)", "2.83", 0.0), ("x", "x^(10^9)", 0.0),
        ([r"\frac{1}{2}", "x"], r"\dfrac{2}{4}", 1.0), ("42", "9^9^9^9", 0.0),
        (r"\{1, 2\}", r"\{2, 1\}", 1.0), ("5", "__import__('os').system('true')", 0.0),
    ]  # fmt: skip
    given = [Response(prompt=Prompt.of("?", answer=right), text=text) for right, text, _ in rows]
    assert Exact().grade(given) == [expected for _, _, expected in rows]


def _scripted(row_s: int) -> None:
    import json
    import sys
    import time

    for a, b in json.load(sys.stdin):
        if b == "slow":
            time.sleep(99)
        if b == "dead":
            sys.exit(3)
        print(int(a == b), flush=True)


def test_a_comparison_without_end_is_unscored_and_harms_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rules_exact, "_compare", _scripted)
    source = rules_exact.inspect.getsource(_scripted).replace("_scripted", "_compare")
    monkeypatch.setattr(rules_exact.inspect, "getsource", lambda function: source)
    for name, new in (("START_S", 2), ("ROW_S", 0)):
        monkeypatch.setattr(rules_exact, name, new)
    pairs = [("1", "1"), ("1", "slow"), ("1", "dead"), ("1", "2")]
    first, slow, dead, last = rules_exact.equal_formulas(pairs)
    assert first == 1.0 and "too long" in str(slow) and "with 3" in str(dead) and last == 0.0


# Patterns, JSON, lengths.

SCHEMA = {
    "type": "object",
    "properties": {"n": {"type": "integer"}, "s": {"type": "string", "pattern": "^(a|aa)+$"}},
    "patternProperties": {"^x": {"type": "string"}},
    "required": ["n"],
}
TEXTS: list[tuple[Rule, dict[str, int]]] = [
    (Regex(must=(r"^yes",), never=(r"\bsorry\b",)), {"yes": 1, "yes, sorry": 0, "no": 0}),
    (JsonSchema(schema=SCHEMA), {
        'Here:\n```json\n{"n": 1}\n```\nDone': 1, 'so {"n": 1} it is': 1, '{"n": 1, "s": "aa"}': 1,
        '{"n": 1.5}': 0, "{}": 0, "": 0, '{"n": 1': 0, '{"n": NaN}': 0, '{"n": 1, "n": 2}': 0,
        '{"n": ' + "9" * 5000 + "}": 0, "[" * 100_000: 0, '{"n": 1, "s": "b"}': 0,
    }),
    (JsonSchema(schema={"type": "object", "additionalProperties": {"$ref": "#"}}), {
        '{"a":' * 50 + "{}" + "}" * 50: 1, '{"a":' * 900 + "{}" + "}" * 900: 0,
    }),
    (MaxSentences(n=2), {
        "One, e.g. this by Dr. No, is 3.5 long.": 1, "": 1, "Really?! Yes...": 1,
        "One. Two. Three": 0, "a\nb\nc": 0, "1. a\n2. b": 1, "一。二。三。": 0,
    }),
    (MaxWords(n=2), {"": 1, "one two": 1, "one two\nthree": 0}),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "texts"), TEXTS, ids=[rule.kind for rule, _ in TEXTS])
def test_rules_on_texts(rule: Rule, texts: dict[str, int]) -> None:
    assert answers(rule, list(texts)) == [float(right) for right in texts.values()]


def test_hostile_texts_give_no_score_and_do_not_hang() -> None:
    started = time.monotonic()
    rule = Regex(must=(r"^(a|aa|a?)+$", "b"))
    # The second is decided by the other pattern, whatever the slow one would say.
    late, decided = answers(rule, ["a" * 60 + "!b", "a" * 60 + "!"])
    assert "took over" in str(late) and decided == 0.0
    slow = '{"n": 1, "s": "' + "a" * 60 + '!"}'
    said = answers(JsonSchema(schema=SCHEMA), ['{"n": 1}', slow, '{"n": 2}'])
    assert said[0] == said[2] == 1.0 and "took over" in str(said[1])
    (far,) = answers(JsonSchema(schema={"$ref": "http://127.0.0.1:9/x.json"}), ["{}"])
    assert "refers to what it does not hold" in str(far)
    assert time.monotonic() - started < 10


# Arithmetic.


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("7 + 5 = 12 ; 12 * 3 = 36", 1), ("7 + 5 = 12 ; 12 * 3 = 37 ; 36 = 6 * 6", 0),
        ("12 x 3 makes 36 ,", 1), ("36", 0), ("1 + 1 = 2, so 36", 0),
        ("12 * 3 = $<<12*3=35>>36 a day", 1), ("- 7 + 5 = 12\n- 12 x 3 = 36", 1),
        ("1. 3+4=7\n2. 40-4=36", 1), ("x = 30 + 6 = 36", 1), ("5/0 = 3, 6*6 = 36", 0),
        ("100/3 = 33.33, 6*6 = 36", 1), ("100/3 = 33.34, 6*6=36", 0),
        ("2 apples + 3 + 5 = 10 and 6*6 = 36", 1), ("12 * 3 = 36 - 4 = 32 + 4 = 36", 0),
        ("50% × 72 = 36", 1), (r"\frac{72}{2} = 36", 1), ("3 apples + 33 = 36", 0),
    ],
)  # fmt: skip
def test_arithmetic(text: str, right: int) -> None:
    for ask, meta in (("?", {"answer": "36"}), ("start 7 , + 5 , * 3", {})):
        assert answers(Arithmetic(), [text], ask, **meta) == [float(right)]


def test_arithmetic_knows_what_was_asked() -> None:
    asked = {
        "What is 12 * (3 + 4)?": 84, "Compute: 1,000 - 1": 999, "8 / 4 / 2": 1,
        "start 9 , - 10 , / 2": Fraction(-1, 2), "Ann has 3-5 pens?": None, "12": None,
        "What is 1 / 0?": None, "": None,
    }  # fmt: skip
    assert {ask: asked_for(ask) for ask in asked} == asked
    (said,) = answers(Arithmetic(), ["1 + 1 = 2"], "Ann has 1 pen and buys another.")
    assert "no sum" in str(said)
    late, wrong = answers(Arithmetic(), ["9^99999999 = 3", "9^99999999 = 3 ; 1 + 1 = 3"], answer=3)
    assert "not a sum" in str(late) and wrong == 0.0


@given(st.text(alphabet=r"0123456789+-*/^()=%., x$\{}<>~&|abfrcsqt" + "\n", max_size=120))
def test_any_text_is_read_or_refused(text: str) -> None:
    assert all(len(sides) > 1 for sides in equations(text))
    (said,) = answers(Arithmetic(), [text], answer="12")
    assert said in (0.0, 1.0) or isinstance(said, str)


# Proofs.

CHAIN = {"premises": ["p -> q", "q -> r", "p"], "conclusion": "r"}
PROOFS = {
    "1. q [P1, P3]\n2. r [P2, 1]": 1, "First:\n 1) q  [P3, P1].\n\nso\nb: (r) [1, P2]": 1,
    "1. p -> r [P1, P2]\n2. r [1, P3]": 1, "1. ~~q [P1, P3]\n2. q [1]\n3. r [2, P2]": 1,
    "r": 0, "1. r []": 0, "1. r [1]": 0, "1. r [2]\n2. r [1]": 0, "": 0, "1. r [P1, P2, P3]": 0,
    "1. q [P1, P3]": 0, "1. q [P1, P3]\n2. r [1]": 0, "1. q [P1, P3]\n1. r [P2, 1]": 0,
    "P1. r [P2]\n1. r [P1]": 0, "1. q [P1, P3]\n2. r or s [P2, 1]": 0,
    "1. q and (s or ~s) [P1, P3]\n2. r [P2, 1]": 1, "1. q [P1, P9]\n2. r [P2, 1]": 0,
    "1. " + "(" * 200 + "q [P1, P3]": 0,
}  # fmt: skip


def test_a_proof_goes_in_small_steps_that_say_what_they_rest_on() -> None:
    assert answers(Proof(), list(PROOFS), **CHAIN) == [float(v) for v in PROOFS.values()]


def test_a_step_may_not_be_large() -> None:
    """Three pigeons in two holes: z3 sees it at once, which proves nothing of the answer."""
    holes = " or ".join(f"(a{i} and a{j}) or (b{i} and b{j})" for i, j in ((1, 2), (1, 3), (2, 3)))
    meta = {"premises": ["(a1 or b1) and (a2 or b2) and (a3 or b3)"], "conclusion": holes}
    assert answers(Proof(), [f"1. {holes} [P1]"], **meta) == [0.0]
    assert answers(Proof(max_atoms=6), [f"1. {holes} [P1]"], **meta) == [1.0]


@pytest.mark.parametrize(
    ("meta", "why"),
    [
        ({"premises": ["p", "~p"], "conclusion": "q"}, "contradict"),
        ({"conclusion": "forall x. x"}, "cannot be read"),
        ({"conclusion": "(p"}, "no formula"),
    ],
)
def test_what_is_wrong_with_a_prompt_is_no_fault_of_the_answer(meta: Any, why: str) -> None:
    (said,) = answers(Proof(), ["1. q [P1]"], **meta)
    assert why in str(said)


@given(st.text(alphabet="pqr123 ()-+*<>=~&|![],.\nPand", max_size=60))
def test_any_proof_is_read_or_wrong(text: str) -> None:
    assert answers(Proof(), [text, f"1. {text} [P1]"], **CHAIN) in ([0.0, 0.0], [0.0, 1.0])


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
