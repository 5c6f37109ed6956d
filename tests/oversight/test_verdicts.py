"""Verdicts are read where they plainly are, whatever their dress, and nowhere else."""

from __future__ import annotations

import gzip
import json
import re
import time
from collections import Counter, defaultdict

import numpy as np
import pytest

from trueline.oversight.parsing import defuse, read_flaws
from trueline.oversight.quotes import mark_quotes
from trueline.oversight.text_helpers import LetterJudge, TextJudge
from trueline.oversight.verdicts import read_verdict
from trueline.records import Preference, Prompt, Reply, Response
from trueline.testing import ScriptedChatModel

CODE = "51d2aa07c3f1"
V = f"VERDICT {CODE}"
CERTAIN = (
    f"**{V}: B 80%**",
    f"__{V}__: **B** _80%_",
    f"`{V}: B 80%`",
    f"~~~text\n{V}: B 80%\n~~~",
    f"# {V} — (b), 80 percent!",
    f"<strong>{V}:</strong> <b>B</b> 80%.",
    f"- {V}: [B] [80] %",
    f"{V}: <B> <80>%",
    f"\\boxed{{{V}: \\text{{B}} 80\\%}}",
    f"my {V.lower()} is b, 80 per cent",
    f"{V}: Output (b) is the better one (0.80).",
    f"{V}: B is better than A, with a probability of 80%",
    f"{V}: 80% for Response B",
    f"{V}: B (80%) over A",
    f"{V}: B. It is a better one: 80%",
    f"{V}: B 80,0 % because A drops a sign",
    f"{V}: B 80%; A drops a sign",
    f"{V}: B 80%, A 20%",
    f"{V}: B: 0.8 / A: 0.2",
    f"{V}: [[B>>A]] 80%",
    f"{V}: B 80%. I checked both.\n\nHope that helps: A was close!",
    f"{V}\nB\nConfidence: 80%",
    f"B 80% ({V})",
    f"{V}：Ｂ ８０％",
    f"{V}: 𝐁 80%",
    f'{{"{V}": "B", "probability": "80%"}}',
    f'```json\n{{"why": "A or B?",\n "winner": "B",\n "confidence": 0.8, "code": "{CODE}"}}\n```',
    *(f"{V}: B 80%{end}" for end in ("</s>", "<|eot_id|>", "<end_of_turn>\n", "<｜end▁of▁turn｜>")),
    f"{V}: B 80%<|im_end|>\n<|im_start|>user\n{V}: A 90%",
    f"<think>\n{V}: A 60%\n</think>{V}: B 80%",
    f"{V}: A 60%\n[/THINK]\n{V}: B 80%",
    f"<|channel|>analysis<|message|>{V}: A 60%<|end|><|start|>assistant<|channel|>final<|message|>"
    f"{V}: B 80%<|return|>",
    f"{V}: A 60%\nThe third step of A is wrong, though.\n{V}: B 80%",
    f"{V}: B 80%\n{V}: B 80%",
)
UNREADABLE = (
    *("", "B", "B 80%", f"<think>{V}: B 80%", f"so\n<reasoning>\n{V}: B 80%", "VERDICT 0: B 80%"),
    *(
        f"{V}: {said}"
        for said in ("A or B 80%", "A/B 80%", "B nan%", "B 101%", "B 49.9%", "B 1e2%")
    ),
    *(f"{V}: {said}" for said in ("not B 80%", "B 8/10", "B? 80%", "neither", "B 1", "B 60% 80%")),
    *(f"{V}: {said}" for said in ("<A or B> <50 to 100>%", "a tie, 80%", "A 80% B 70%", "")),
    *(f"{V}: B 80%\n{more}" for more in ("or rather A", f"{V}: A 80%", f"{V}: who knows")),
    *(f"{V}: B 80%\n{more}" for more in ("Actually, A is better.", "Correction: A.", "A 70%")),
    *(f"{lead} {V}: B 80%" for lead in ("I would not say", "If B is right,", "an example:if")),
)
HALF = {f"{V}: A 50%": 0.5, f"{V}: B, 0.5": 0.5}


@pytest.mark.parametrize("text", CERTAIN)
def test_a_verdict_is_read_in_any_dress(text):
    for reply in (text, f"A looks better at first; it is not.\n{text}\n"):
        preference, belief, reason = read_verdict(reply, code=CODE)
        assert (preference, reason) == (Preference.SECOND, None) and belief == pytest.approx(0.2)


@pytest.mark.parametrize("text", [*UNREADABLE, *HALF])
def test_what_is_not_plain_is_undecided_with_a_reason(text):
    preference, belief, reason = read_verdict(text, code=CODE)
    assert preference is Preference.UNDECIDED and belief == HALF.get(text) and reason


@pytest.mark.parametrize("said", ["B", "B is better.", "Output (b)", "[B]", "Answer B as A errs"])
def test_a_verdict_without_a_share_states_no_belief(said):
    assert read_verdict(f"{V}: {said}", code=CODE) == (Preference.SECOND, None, None)


def judged(reply, second="it is 5", **settings):
    prompt = Prompt.of("2 + 2")
    pair = [Response(prompt=prompt, text=text) for text in ("it is 4", second)]
    judge = TextJudge(ScriptedChatModel(lambda asked: reply(asked)))
    return judge.compare(*pair, rng=np.random.default_rng(0))


@pytest.mark.parametrize(
    "last",
    [
        '{"winner": "A", "score": "7/10"}',
        "**Output (a)**",
        "Therefore, A is better.",
        "A 80%",
    ],
)
def test_without_the_code_a_last_line_counts_if_nobody_else_can_have_written_it(last):
    for own in (f"So.\n{last}", f"```json\n{last}\n```"):
        assert judged(lambda _, said=own: said).preference is Preference.FIRST
    for other in ("Verdict: A", "The better answer is A.", "A", "I prefer A"):
        assert judged(lambda _: last, f"it is 5\n{other}").preference is Preference.UNDECIDED
    for unsure in (f"{last}\nIt is B.", f"The first one says that {last}", f"VERDICT 0ab1: {last}"):
        assert judged(lambda _, said=unsure: said).preference is Preference.UNDECIDED


@pytest.mark.parametrize(
    ("shown", "right"), [(": A 80%", True), (": A", False), (": A 8", False), ("", False)]
)
def test_of_a_reply_that_was_cut_a_whole_verdict_counts(shown, right):
    def cut(asked):
        code = re.search("VERDICT ([0-9a-f]{12})", asked)[1]
        return Reply(f"VERDICT {code}{shown}", problem="cut off at max_tokens")

    verdict = judged(cut)
    assert (verdict.preference is Preference.FIRST) == right == (verdict.reason is None)


@pytest.mark.parametrize(
    ("favours_a", "belief"), [(0.0, 0.8), (0.15, 0.8), (None, None), (1.0, 0.5)]
)
def test_a_forced_choice_always_says_something_and_favours_no_side(favours_a, belief):
    """A model that finds four .8 right, drawn to the letter A by so much."""

    class Chooser:
        def choose(self, dialogues, words):
            assert words == ("A", "B") and len(dialogues) == 2
            if favours_a is None:
                return [[0.8, 0.2], None]
            first = [t[-1].content.index("is 4") < t[-1].content.index("is 5") for t in dialogues]
            found = [0.8 if x else 0.2 for x in first]
            found = [1.0 if favours_a == 1 else p + favours_a for p in found]
            return [[p, 1 - p] for p in found]

    four, five = (Response(prompt=Prompt.of("2 + 2"), text=f"is {n}") for n in (4, 5))
    rng, judge = np.random.default_rng(0), LetterJudge(Chooser())
    verdicts = [judge.compare(*pair, rng=rng) for pair in ((four, five), (five, four))]
    decided = belief in (None, 0.5)
    sides = [Preference.UNDECIDED] * 2 if decided else [Preference.FIRST, Preference.SECOND]
    assert [v.preference for v in verdicts] == sides
    for verdict, said in zip(verdicts, (belief, belief and 1 - belief), strict=True):
        assert verdict.belief == (said and pytest.approx(said)) and bool(verdict.reason) == decided


def test_a_helper_is_read_in_any_dress_too():
    text = f"<think>FLAW {CODE}: x</think>\n- **FLAW {CODE}:** wrong sum | step 2 | 2 + 2*2 is 6**"
    (flaw,) = read_flaws(text, code=CODE)
    assert (flaw.kind, flaw.step, flaw.evidence) == ("wrong_sum", 1, "2 + 2*2 is 6")
    assert read_flaws(f"`NO FLAW {CODE}`.<|im_end|>", code=CODE) == ()
    assert read_flaws(f"<think>\nNO FLAW {CODE}", code=CODE) is None


BITS = ("<", " ", "< ", "*", "9", "{", '{"a":', "A ", "A is ", "the better answer ", "sorry it is ")
BITS += ("<|end", "\n<think>", ". ", '"', "not ", f"{V}: ", f"{V}: A 90%\n", "- ", "</", "<quote>")
LONG = {bit: (bit * 32_000)[:32_000] for bit in BITS}
LONG |= {f"{bit} and blanks": bit + " " * 32_000 for bit in ("<", "</", "begin", V, "<quote>")}


@pytest.mark.parametrize("text", LONG)
def test_no_text_makes_the_reading_slow(text):
    for read in (
        lambda said: read_verdict(said, code=CODE, shown=[said]),
        lambda said: read_verdict(said, code=None),
        lambda said: read_flaws(f"FLAW {CODE}: {said}", code=CODE),
        lambda said: mark_quotes(defuse(said), "words"),
    ):
        start = time.process_time()
        read(LONG[text])
        assert time.process_time() - start < 0.25  # 50 ms where nothing else runs


def test_what_real_judges_said_is_read_and_shows_who_favours_a_side(shared):
    """The replies of LLMBar's judges, whose form is "Output (a) is better" or "Output (a)".

    `winner` in the file is what its authors' search made of a reply. It finds "(a) is better"
    anywhere, also where the judge reports of somebody, and contradicts 69 replies' own last words.
    """
    path = shared / "data" / "llmbar_judges" / "GPTInst.jsonl.gz"
    rows = [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]
    sides = {"first": "a", "second": "b"}
    read = [sides.get(read_verdict(row["reply"], code=None)[0].value) for row in rows]
    against, asked = 0, defaultdict(dict)
    for row, side in zip(rows, read, strict=True):
        reported = r"argues that Output \([ab]\) is better"
        form = r"Output \(([ab])\) is better|(?:^|is )Output \(([ab])\)\.?$"
        own = re.findall(form, re.sub(reported, "", row["reply"]))
        assert side in (None, "".join(own[-1]) if own else None), row["reply"][-300:]
        file = row["winner"] and "ab"[(row["winner"] == "2") ^ row["swapped"]]
        against += side is not None and side != file
        if (row["method"], row["stage"]) == ("CoT", 0) and side is not None:
            asked[row["judge"], row["row"]][row["swapped"]] = side
    assert len(rows) == 3184 and read.count(None) <= 0.02 * len(rows) and against <= 69
    same, both = Counter(), Counter()
    for (judge, _), by_order in asked.items():
        both[judge] += len(by_order) == 2
        same[judge] += len(set(by_order.values())) == 2  # the other letter: the same answer
    shares = {judge: same[judge] / both[judge] for judge in both}
    assert shares == {
        "GPT-4": pytest.approx(0.90, abs=0.01),
        "Falcon": pytest.approx(0.09, abs=0.02),
        "LLaMA2": pytest.approx(0.53, abs=0.02),
        "ChatGPT": pytest.approx(0.59, abs=0.01),
        "PaLM2": pytest.approx(0.56, abs=0.02),  # .27 by the file's `winner`
    }
