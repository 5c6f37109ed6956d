"""The queue of cases for people: nothing lost, nothing twice, nobody guessed for."""

from __future__ import annotations

import io
import signal
import subprocess
import sys

import numpy as np
import pytest
from rich.console import Console

from trueline.errors import InputError
from trueline.progress import Telling, stage
from trueline.raters.people import People, Queue, ask_in_terminal
from trueline.records import Cost, Critique, Flaw, Preference, Prompt, Quote, Response, Verdict
from trueline.testing import HOSTILE

PROMPT = Prompt.of("2 + 2", system="be brief")
FOUR, FIVE = (Response(prompt=PROMPT, text=text) for text in ("it is 4", "it is 5"))
SAID = Critique(
    response=FIVE,
    text="2 + 2 is 4",
    flaws=(Flaw(kind="wrong_sum", step=0),),
    helper="h",
    quotes=(Quote("2 + 2", None),),
)
ANSWER = Verdict(
    preference=Preference.FIRST,
    rater="ann",
    critiques=(SAID,),
    belief=0.8,
    found=((1, Flaw(kind="wrong_sum")),),
    cost=Cost(calls=1, judge_s=7.5),
)


@pytest.fixture
def queue(tmp_path):
    return Queue(tmp_path / "queue.sqlite")


def fill(queue, num):
    return [queue.put(FOUR, FIVE, critiques=(SAID,), ask=i) for i in range(num)]


def test_a_case_goes_in_is_shown_and_answered_whole(queue):
    number = queue.put(FOUR, FIVE, critiques=(SAID,))
    assert queue.put(FOUR, FIVE, critiques=(SAID,)) == number
    assert queue.put(FOUR, FIVE) != number
    case = queue.oldest()
    assert (case.number, case.first, case.second, case.critiques) == (number, FOUR, FIVE, (SAID,))
    assert queue.verdict(number) is None
    with pytest.raises(InputError, match="a case that was put"):
        queue.answer(99, ANSWER)
    assert queue.answer(number, ANSWER) == ANSWER == queue.verdict(number)
    other = Verdict(preference=Preference.SECOND, rater="bob")
    assert queue.answer(number, other) == ANSWER
    assert queue.oldest().number != number


def test_an_acknowledged_label_outlives_a_killed_process(tmp_path):
    path = tmp_path / "queue.sqlite"
    numbers = fill(Queue(path), 3)
    code = (
        "import sys, os, signal\n"
        "from tests.raters.test_people import ANSWER, Queue\n"
        "queue = Queue(sys.argv[1])\n"
        "for number in map(int, sys.argv[2:]): queue.answer(number, ANSWER)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path), *map(str, numbers)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert [Queue(path).verdict(number) for number in numbers] == [ANSWER] * 3


def test_people_are_waited_for_and_not_asked_the_same_again(queue):
    def away_then_there():
        if next(times) < 2:
            return False
        queue.answer(queue.oldest().number, ANSWER)
        return True

    times = iter(range(9))
    for meanwhile in (away_then_there, None):
        people, rng = People(queue=queue, meanwhile=meanwhile), np.random.default_rng(3)
        assert people.compare(FOUR, FIVE, critiques=(SAID,), rng=rng) == ANSWER


def at_terminal(queue, *lines):
    said, shown = iter(lines), io.StringIO()

    def read():
        for line in said:
            return line
        raise EOFError

    console = Console(file=shown, width=80, force_terminal=True, color_system=None)
    asked = ask_in_terminal(queue, person="ann", console=console, read=read)
    return asked, shown.getvalue()


def test_the_terminal_shows_all_asks_until_it_understands_and_records(queue):
    hostile = Response(prompt=PROMPT, text=f"[bold]it is 5[/bold] {HOSTILE}")
    said = Critique(response=hostile, text="2 + 2 is 4", flaws=(), helper="h", in_favour=True)
    number = queue.put(FOUR, hostile, critiques=(said,))
    asked, shown = at_terminal(queue, "perhaps", "b", "40", "75")
    assert asked and "[bold]it is 5[/bold]" in shown and "defence of answer B" in shown
    assert "\x1b" not in shown and "\u202e" not in shown
    verdict = queue.verdict(number)
    assert (verdict.preference, verdict.belief) == (Preference.SECOND, 0.25)
    assert verdict.rater == "ann" and at_terminal(queue) == (False, "")


def test_who_leaves_the_terminal_leaves_the_case_waiting(queue):
    (number,) = fill(queue, 1)
    with pytest.raises(InputError, match="at the terminal"):
        at_terminal(queue, "a")
    with pytest.raises(KeyboardInterrupt):
        at_terminal(queue, "q")
    assert queue.verdict(number) is None
    _, shown = at_terminal(queue, "?", "")
    assert queue.verdict(number).preference is Preference.UNDECIDED
    assert queue.verdict(number).reason and queue.verdict(number).belief is None
    assert "critique of answer B" in shown and "be brief" in shown


def test_an_answer_is_taken_back_and_commented_before_it_counts_and_the_place_is_told(queue):
    numbers = fill(queue, 2)
    with Telling(Console(file=io.StringIO()), "judge"), stage("judging cases", 6) as told:
        told.advance()
        _, shown = at_terminal(queue, "b", "u", "c", "A adds [right].", "?", "u", "a", "")
        assert "case 2 of 6" in shown and "Q to stop" in shown
    verdict = queue.verdict(numbers[0])
    assert (verdict.preference, verdict.text) == (Preference.FIRST, "A adds [right].")
    assert queue.verdict(numbers[1]) is None and "case" not in at_terminal(queue, "a", "")[1][:5]
