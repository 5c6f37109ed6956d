"""Real people as a `Rater`: a case is queued, somebody answers it, or nobody does in time.

Nobody in time is `UNDECIDED` with that reason, never a guess; an answer that comes later is kept,
and given when the same case is asked again with the same stream. What helpers wrote is shown
without markup and without invisible or control characters, which could act on a terminal.

Shown order is the protocol's affair: the first answer is A. `seconds` run from the showing to the
answer, and know nothing of coffee.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from trueline.oversight.parsing import strip_invisible
from trueline.raters.queue import Queue, Waiting
from trueline.records import Cost, Critique, Flaw, Preference, Response, Verdict

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["People", "ask_in_terminal"]

_CHOICES = {"A": Preference.FIRST, "B": Preference.SECOND, "?": Preference.UNDECIDED}


@dataclass(frozen=True, kw_only=True)
class People:
    """Whoever takes cases from the queue."""

    queue: Queue
    timeout_s: float = 3600.0
    """How long a case waits for an answer."""
    meanwhile: Callable[[], bool] | None = None
    """What is done while waiting (`ask_in_terminal`); False if there was nothing to do."""
    poll_s: float = 0.5

    def compare(
        self,
        first: Response,
        second: Response,
        *,
        critiques: tuple[Critique, ...] = (),
        rng: np.random.Generator,
    ) -> Verdict:
        """A person's verdict; undecided, with the reason, where nobody gave one in time."""
        ask = int(rng.integers(2**62))
        number = self.queue.put(first, second, critiques=critiques, ask=ask)
        end = time.monotonic() + self.timeout_s
        while (verdict := self.queue.verdict(number)) is None:
            left = end - time.monotonic()
            if left <= 0:
                if not self.queue.withdraw(number):
                    continue
                reason = f"nobody answered within {self.timeout_s:g} s"
                return Verdict(preference=Preference.UNDECIDED, rater="people", reason=reason)
            if self.meanwhile is None or not self.meanwhile():
                time.sleep(max(0.0, min(self.poll_s, left)))
        return replace(verdict, critiques=critiques)


def ask_in_terminal(
    queue: Queue, *, person: str, console: Console, read: Callable[[], str] = input
) -> bool:
    """Show the next case and take one answer from `read`; False if no case waits."""
    case = queue.take()
    if case is None:
        return False
    try:
        _show(case, console)
        start = time.monotonic()
        choice = _ask(console, read, "better: A, B, or ? if you cannot tell", "[AB?]")
        sure = _ask(console, read, "how sure, 50 to 100 % (or nothing)", r"([5-9]\d|100)?")
        found = []
        while line := _ask(
            console,
            read,
            "a flaw you found: A or B, its step or -, its kind (or nothing)",
            r"([AB] ([1-9]\d{0,3}|-) .+)?",
        ):
            side, step, kind = line.split(maxsplit=2)
            at = None if step == "-" else int(step) - 1
            found.append(("AB".index(side), Flaw(kind="_".join(kind.lower().split()), step=at)))
        preference = _CHOICES[choice]
        share = float(sure) / 100 if sure and preference is not Preference.UNDECIDED else None
        verdict = Verdict(
            preference=preference,
            rater=person,
            belief=1 - share if share and preference is Preference.SECOND else share,
            found=tuple(found),
            cost=Cost(calls=1, judge_s=time.monotonic() - start),
            reason="the person cannot tell" if preference is Preference.UNDECIDED else None,
        )
    except BaseException:
        queue.release(case.number)
        raise
    if queue.answer(case.number, verdict) != replace(verdict, critiques=case.critiques):
        console.print("somebody else was faster: their answer is on record")
    return True


def _show(case: Waiting, console: Console) -> None:
    from rich.panel import Panel
    from rich.text import Text

    turns = case.first.prompt.messages
    parts = [("task", turn.content) for turn in turns[-1:]]
    parts = [(f"before: {turn.role}", turn.content) for turn in turns[:-1]] + parts
    parts += [("answer A", case.first.text), ("answer B", case.second.text)]
    for c in case.critiques:
        side = "A" if c.response.key == case.first.key else "B"
        kind = "defence" if c.in_favour else "critique"
        parts.append((f"{kind} of answer {side}", c.text or f"nothing usable: {c.problem}"))
    for title, text in parts:
        console.print(
            Panel(
                Text(strip_invisible(text)), title=Text(strip_invisible(title)), title_align="left"
            )
        )


def _ask(console: Console, read: Callable[[], str], question: str, form: str) -> str:
    """Asked until the answer has the form."""
    while True:
        console.print(f"{question}: ", end="", markup=False, highlight=False)
        said = " ".join(read().split())
        said = said.upper() if len(said) == 1 else said[:2].upper() + said[2:]
        if re.fullmatch(form, said):
            return said
