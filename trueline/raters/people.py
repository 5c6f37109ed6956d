"""Have real people judge: a case is queued on disk until somebody answers it.

The first answer counts and is on disk when `Queue.answer` returns; later ones get it back. The same
case put again, critiques and `ask` included, has the same number: a run that resumes asks nobody
twice. Several processes may use one file. Texts are shown without markup and without invisible or
control characters, which could act on a terminal.
"""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert

from trueline.data.store import Database, pack, unpack
from trueline.errors import InputError
from trueline.oversight.parsing import strip_invisible
from trueline.progress import position
from trueline.raters.rule_and_reward import Critiques
from trueline.records import Cost, Critique, Preference, Response, Verdict
from trueline.rng import Rng

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["People", "Queue", "Waiting", "ask_in_terminal"]

_CASES = sa.Table(
    "cases",
    sa.MetaData(),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("key", sa.String(64), nullable=False, unique=True),
    sa.Column("asked", sa.Text, nullable=False),
    sa.Column("verdict", sa.Text),
)
_C = _CASES.c


@dataclass(frozen=True, kw_only=True)
class Waiting:
    """A case as it is to be shown: first is A."""

    number: int = 0
    first: Response
    second: Response
    critiques: tuple[Critique, ...]


class Queue(Database):
    """Cases for people, in the file `path` (made if missing; SetupError where it cannot be)."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__(path, what="queue of cases")
        with self.transaction() as connection:
            _CASES.metadata.create_all(connection)

    def put(
        self,
        first: Response,
        second: Response,
        *,
        critiques: tuple[Critique, ...] = (),
        ask: int = 0,
    ) -> int:
        """Hand a case out, and return its number; `ask` tells equal cases apart."""
        asked = pack(Waiting(first=first, second=second, critiques=critiques))
        key = hashlib.sha256(f"{ask} {asked}".encode()).hexdigest()
        new = insert(_CASES).values(key=key, asked=asked).on_conflict_do_nothing()
        with self.transaction() as connection:
            connection.execute(new)
        return int(self._row(_C.key == key).number)

    def oldest(self) -> Waiting | None:
        """Return the case that waits longest; None if none waits."""
        row = self._row(_C.verdict.is_(None))
        return None if row is None else replace(unpack(Waiting, row.asked), number=row.number)

    def answer(self, number: int, verdict: Verdict) -> Verdict:
        """Return the answer on record, which is this one unless somebody was earlier."""
        row = self._row(_C.number == number)
        if row is None:
            raise InputError("an answer must be to a case that was put", got=f"number {number}")
        cost = Cost(calls=1, judge_s=verdict.cost.judge_s)
        whole = replace(verdict, critiques=unpack(Waiting, row.asked).critiques, cost=cost)
        first = sa.update(_CASES).where(_C.number == number, _C.verdict.is_(None))
        with self.transaction() as connection:
            connection.execute(first.values(verdict=pack(whole)))
        return unpack(Verdict, self._row(_C.number == number).verdict)

    def verdict(self, number: int) -> Verdict | None:
        """Return what was answered; None if nothing was yet."""
        row = self._row(_C.number == number, _C.verdict.is_not(None))
        return None if row is None else unpack(Verdict, row.verdict)

    def _row(self, *conditions: Any) -> Any:
        """Return the first row of which all conditions hold; None if there is none."""
        rows = sa.select(_CASES).where(*conditions).order_by(_C.number).limit(1)
        with self.transaction() as connection:
            return connection.execute(rows).one_or_none()


@dataclass(frozen=True, kw_only=True)
class People:
    """Judge by whoever takes cases from the queue."""

    queue: Queue
    meanwhile: Callable[[], bool] | None = None
    """What is done while waiting (`ask_in_terminal`); False if there was nothing to do."""

    def compare(
        self, first: Response, second: Response, *, critiques: Critiques = (), rng: Rng
    ) -> Verdict:
        """Return a person's verdict, however long it takes."""
        ask = int(rng.integers(2**62))
        number = self.queue.put(first, second, critiques=critiques, ask=ask)
        while (verdict := self.queue.verdict(number)) is None:
            if self.meanwhile is None or not self.meanwhile():
                time.sleep(0.5)
        return replace(verdict, critiques=critiques)


def ask_in_terminal(
    queue: Queue, *, person: str, console: Console, read: Callable[[], str] | None = None
) -> bool:
    """Show the next case and take one answer from `read` (`input`); False if no case waits.

    Nothing is recorded until the last question is answered; `KeyboardInterrupt` if they stop.
    """
    case = queue.oldest()
    if case is None:
        return False

    def ask(question: str, form: str) -> str:
        """Ask until the answer has the form."""
        while True:
            console.print(f"{question}: ", end="", markup=False, highlight=False)
            try:
                line = (read or input)().strip()
            except EOFError:
                must = "a person must be at the terminal to judge"
                raise InputError(must, got="no input") from None
            if re.fullmatch(form, line, re.IGNORECASE):
                return line

    _show(case, console)
    start = time.monotonic()
    said, sure, comment = "U", "U", ""
    while sure.upper() == "U":
        said = ask("better: A, B, or ? if you cannot tell; C to comment, Q to stop", "[AB?CQ]")
        said = said.upper()
        if said == "Q":
            console.print()
            raise KeyboardInterrupt
        if said == "C":
            comment = ask("comment", ".*")
        elif said == "?":
            sure = ask("nothing to record it, U to choose again", "U?")
        else:
            must = "how sure, 50 to 100 %, or nothing; U to choose again"
            sure = ask(must, r"([5-9]\d|100|U)?")
    preference = {"A": Preference.FIRST, "B": Preference.SECOND}.get(said, Preference.UNDECIDED)
    share = float(sure) / 100 if sure else None
    verdict = Verdict(
        preference=preference,
        rater=person,
        belief=1 - share if share and preference is Preference.SECOND else share,
        cost=Cost(judge_s=time.monotonic() - start),
        reason="the person cannot tell" if said == "?" else None,
        text=comment,
    )
    queue.answer(case.number, verdict)
    return True


def _show(case: Waiting, console: Console) -> None:
    from rich.panel import Panel
    from rich.text import Text

    if where := position():
        console.print(f"case {where}", highlight=False)
    *before, last = case.first.prompt.messages
    parts = [(f"before: {turn.role}", turn.content) for turn in before]
    parts += [("task", last.content), ("answer A", case.first.text), ("answer B", case.second.text)]
    for c in case.critiques:
        title = f"{'defence' if c.in_favour else 'critique'} of answer "
        title += "A" if c.response.key == case.first.key else "B"
        parts.append((title, c.text or f"nothing usable: {c.problem}"))
    for title, text in parts:
        shown, name = (Text(strip_invisible(words)) for words in (text, title))
        console.print(Panel(shown, title=name, title_align="left"))
