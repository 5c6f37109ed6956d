"""What the contract of every oversight protocol is tested on: a case, judges, helpers."""

from __future__ import annotations

import numpy as np

from trueline.data.planted_flaws import Flawed
from trueline.errors import JudgeError
from trueline.records import Case, Cost, Flaw, Preference, Prompt, Response, Verdict
from trueline.testing import ScriptedHelper

PROMPT = Prompt.of("pick the better")
GOOD, BAD = Response(prompt=PROMPT, text="good"), Response(prompt=PROMPT, text="bad")
CASE = Case(first=GOOD, second=BAD)
FLAW = Flaw(kind="bad", evidence="bad")


class Judge:
    """Answers by a function of the two texts as shown; takes ten seconds; keeps what it saw."""

    def __init__(self, choose):
        self.choose, self.seen = choose, []

    def compare(self, first, second, *, critiques=(), rng):
        self.seen.append((first.text, critiques))
        preference = self.choose(first.text, second.text, rng)
        belief = {Preference.FIRST: 0.9, Preference.SECOND: 0.1}.get(preference, 0.5)
        cost = Cost(judge_s=10.0)
        return Verdict(preference=preference, rater="j", belief=belief, cost=cost)


def perfect(first, second, rng):
    """Prefers what is not bad (a spoiled or revised text counts by the word it holds)."""
    if ("bad" in first) == ("bad" in second):
        return Preference.UNDECIDED
    return Preference.SECOND if "bad" in first else Preference.FIRST


def coin(first, second, rng):
    return Preference.FIRST if rng.random() < 0.5 else Preference.SECOND


def always_first(first, second, rng):
    return Preference.FIRST


def undecided(first, second, rng):
    return Preference.UNDECIDED


def failing(first, second, rng):
    raise JudgeError("the judge must say A or B", got="a poem")


def broken(response):
    """Fails instead of helping."""
    raise JudgeError("the helper must answer", got="HTTP 500")


class Letters:
    """A word falls into its letters."""

    def count(self, response):
        return len(response.text)

    def part(self, response, start, stop):
        return Response(prompt=response.prompt, text=response.text[start:stop])


class Scripted(ScriptedHelper):
    """Plants the word which the perfect judge looks for, where it is not there; divides words."""

    division = Letters()

    def inject(self, response, *, rng):
        if "bad" in response.text:
            return None
        marked = Response(prompt=response.prompt, text=f"{response.text} bad")
        return Flawed(response=marked, flaw=FLAW)


HELPERS = {
    "perfect": Scripted(lambda r: (FLAW,) if "bad" in r.text else ()),
    "adversarial": Scripted(lambda r: () if "bad" in r.text else (FLAW,)),
    "unreadable": Scripted(lambda r: None),
    "failing": Scripted(broken),
}


def judged(protocol, choose, *, helper="perfect", case=CASE, seed=0):
    """One verdict."""
    return protocol.judge(
        case, helper=HELPERS[helper], judge=Judge(choose), rng=np.random.default_rng(seed)
    )
