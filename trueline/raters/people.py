"""Real people as a rater: a case is queued on disk, somebody answers it, or nobody does in time.

A case that is taken is nobody else's for `lease_s`; unanswered by then, it is handed out again. The
first answer counts and is on disk when `Queue.answer` returns; later ones get the one on record.
The same case put again, critiques and `ask` included, is the same number: a run that resumes finds
its answers and asks nobody twice. Several processes may use one file.

Nobody in time is `UNDECIDED` with that reason, never a guess; a late answer is kept, and given when
the same case is asked again with the same stream. What helpers wrote is shown without markup and
without invisible or control characters, which could act on a terminal. The first answer is A.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import sqlalchemy as sa

from trueline.data.store import (
    Database,
    pack_critiques,
    pack_verdict,
    unpack_critiques,
    unpack_verdict,
)
from trueline.errors import InputError
from trueline.oversight.parsing import strip_invisible
from trueline.records import Cost, Critique, Flaw, Message, Preference, Prompt, Response, Verdict

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["People", "Queue", "Waiting", "ask_in_terminal"]

_CASES = sa.Table(
    "waiting",
    sa.MetaData(),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("key", sa.String(64), nullable=False, unique=True),
    sa.Column("asked", sa.Text, nullable=False),
    sa.Column("critiques", sa.Text, nullable=False),
    sa.Column("wanted_until", sa.Float, nullable=False),
    sa.Column("leased_until", sa.Float, nullable=False),
    sa.Column("verdict", sa.Text),
)
_C = _CASES.c


@dataclass(frozen=True, kw_only=True)
class Waiting:
    """A case as it is to be shown: first is A."""

    number: int
    first: Response
    second: Response
    critiques: tuple[Critique, ...]


class Queue:
    """Cases for people, in the file `path` (made if missing; SetupError where it cannot be)."""

    def __init__(self, path: str | os.PathLike[str], *, lease_s: float = 600.0) -> None:
        self._database, self._lease_s = Database(path, what="queue of cases"), lease_s
        with self._database.transaction() as connection:
            _CASES.metadata.create_all(connection)

    def put(
        self,
        first: Response,
        second: Response,
        *,
        critiques: tuple[Critique, ...] = (),
        ask: int = 0,
        timeout_s: float = 1e9,
    ) -> int:
        """Hand a case out for `timeout_s`, and return its number; `ask` tells equal cases apart."""
        turns = [[m.role, m.content] for m in first.prompt.messages]
        asked = json.dumps([turns, first.text, second.text])
        packed = pack_critiques(critiques, first, second)
        key = hashlib.sha256(json.dumps([asked, packed, ask]).encode()).hexdigest()
        until = {"wanted_until": time.time() + timeout_s}
        new = {"key": key, "asked": asked, "critiques": packed, "leased_until": 0.0, **until}
        with self._database.transaction() as connection:
            known = connection.execute(sa.select(_C.number).where(_C.key == key)).scalar()
            if known is not None:
                connection.execute(_update(known).values(**until))
                return int(known)
            done = connection.execute(sa.insert(_CASES).values(**new))
            return int(done.inserted_primary_key[0])  # type: ignore[index]

    def take(self) -> Waiting | None:
        """Lease the case that waits longest to whoever asks; None if none waits."""
        now = time.time()
        free = (_C.verdict.is_(None), _C.wanted_until > now, _C.leased_until <= now)
        oldest = sa.select(_CASES).where(*free).order_by(_C.number).limit(1)
        with self._database.transaction() as connection:
            row = connection.execute(oldest).one_or_none()
            if row is None:
                return None
            connection.execute(_update(row.number).values(leased_until=now + self._lease_s))
        return _unpack(row)

    def release(self, number: int) -> None:
        """Hand a case back that was taken and will not be answered."""
        with self._database.transaction() as connection:
            connection.execute(_update(number).values(leased_until=0.0))

    def answer(self, number: int, verdict: Verdict) -> Verdict:
        """Return the answer on record, which is this one unless somebody was earlier."""
        belief, preference = verdict.belief, verdict.preference
        low = 0.5 if preference is Preference.FIRST else 0.0
        high = 0.5 if preference is Preference.SECOND else 1.0
        if belief is not None and not low <= belief <= high:
            raise InputError(
                "a belief must be a probability and agree with the preference",
                got=f"{belief} and {preference.value}",
            )
        with self._database.transaction() as connection:
            row = connection.execute(sa.select(_CASES).where(_C.number == number)).one_or_none()
            if row is None:
                raise InputError("an answer must be to a case that was put", got=f"number {number}")
            case = _unpack(row)
            if row.verdict is not None:
                return unpack_verdict(row.verdict, case.first, case.second)
            cost = Cost(calls=1, judge_s=verdict.cost.judge_s)
            verdict = replace(verdict, critiques=case.critiques, cost=cost)
            packed = pack_verdict(verdict, case.first, case.second)
            connection.execute(_update(number).values(verdict=packed))
        return verdict

    def verdict(self, number: int) -> Verdict | None:
        """Return what was answered; None if nothing was yet."""
        answered = sa.select(_CASES).where(_C.number == number, _C.verdict.is_not(None))
        with self._database.transaction() as connection:
            row = connection.execute(answered).one_or_none()
        if row is None:
            return None
        case = _unpack(row)
        return unpack_verdict(row.verdict, case.first, case.second)


@dataclass(frozen=True, kw_only=True)
class People:
    """Judge by whoever takes cases from the queue."""

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
        """Return a person's verdict; undecided, with the reason, where nobody gave one in time."""
        ask = int(rng.integers(2**62))
        number = self.queue.put(
            first, second, critiques=critiques, ask=ask, timeout_s=self.timeout_s
        )
        end = time.monotonic() + self.timeout_s
        while (verdict := self.queue.verdict(number)) is None:
            left = end - time.monotonic()
            if left <= 0:
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
        verdict = _ask_verdict(person, lambda question, form: _ask(console, read, question, form))
        cost = Cost(calls=1, judge_s=time.monotonic() - start)
    except BaseException:
        queue.release(case.number)
        raise
    given = replace(verdict, cost=cost, critiques=case.critiques)
    if queue.answer(case.number, given) != given:
        console.print("somebody else was faster: their answer is on record")
    return True


def _ask_verdict(person: str, ask: Callable[[str, str], str]) -> Verdict:
    choices = {"A": Preference.FIRST, "B": Preference.SECOND, "?": Preference.UNDECIDED}
    preference = choices[ask("better: A, B, or ? if you cannot tell", "[AB?]")]
    sure = ask("how sure, 50 to 100 % (or nothing)", r"([5-9]\d|100)?")
    flaws = []
    question = "a flaw you found: A or B, its step or -, its kind (or nothing)"
    while line := ask(question, r"([AB] ([1-9]\d{0,3}|-) .+)?"):
        side, step, kind = line.split(maxsplit=2)
        at = None if step == "-" else int(step) - 1
        flaws.append(("AB".index(side), Flaw(kind="_".join(kind.lower().split()), step=at)))
    undecided = preference is Preference.UNDECIDED
    share = float(sure) / 100 if sure and not undecided else None
    return Verdict(
        preference=preference,
        rater=person,
        belief=1 - share if share and preference is Preference.SECOND else share,
        found=tuple(flaws),
        reason="the person cannot tell" if undecided else None,
    )


def _show(case: Waiting, console: Console) -> None:
    from rich.panel import Panel
    from rich.text import Text

    *before, last = case.first.prompt.messages
    parts = [(f"before: {turn.role}", turn.content) for turn in before]
    parts += [("task", last.content)]
    parts += [("answer A", case.first.text), ("answer B", case.second.text)]
    for c in case.critiques:
        side = "A" if c.response.key == case.first.key else "B"
        kind = "defence" if c.in_favour else "critique"
        parts.append((f"{kind} of answer {side}", c.text or f"nothing usable: {c.problem}"))
    for title, text in parts:
        shown, name = (Text(strip_invisible(words)) for words in (text, title))
        console.print(Panel(shown, title=name, title_align="left"))


def _ask(console: Console, read: Callable[[], str], question: str, form: str) -> str:
    """Ask until the answer has the form."""
    while True:
        console.print(f"{question}: ", end="", markup=False, highlight=False)
        line = " ".join(read().split())
        line = line.upper() if len(line) == 1 else line[:2].upper() + line[2:]
        if re.fullmatch(form, line):
            return line


def _update(number: int) -> sa.Update:
    return sa.update(_CASES).where(_C.number == number)


def _unpack(row: Any) -> Waiting:
    turns, *texts = json.loads(row.asked)
    prompt = Prompt(messages=tuple(Message(*turn) for turn in turns))
    first, second = (Response(prompt=prompt, text=text) for text in texts)
    critiques = unpack_critiques(row.critiques, first, second)
    return Waiting(number=row.number, first=first, second=second, critiques=critiques)
