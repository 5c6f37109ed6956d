"""Cases that wait for people, on disk: put, take under a lease, answer once.

A case that is taken is nobody else's for `lease_s`; unanswered by then, it is handed out again. The
first answer counts and is on disk (SQLite, write-ahead, synchronous=FULL) when `answer` returns;
who comes later gets the one on record. The same case put again, critiques and `ask` included, is
the same number: a run that resumes finds its answers and asks nobody twice.

Several processes may use one file. Fails with a `SetupError` where it cannot be opened or written.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa

from trueline.data.database import (
    Database,
    pack_critiques,
    pack_verdict,
    unpack_critiques,
    unpack_verdict,
)
from trueline.errors import InputError
from trueline.records import Cost, Critique, Message, Preference, Prompt, Response, Verdict

__all__ = ["Queue", "Waiting"]

_CASES = sa.Table(
    "waiting",
    sa.MetaData(),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("key", sa.String(64), nullable=False, unique=True),
    sa.Column("asked", sa.Text, nullable=False),
    sa.Column("critiques", sa.Text, nullable=False),
    sa.Column("wanted", sa.Boolean, nullable=False),
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
    """Cases for people, in the file `path` (made if missing)."""

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
    ) -> int:
        """The number of the case, from now on handed out; `ask` tells equal cases apart."""
        turns = [[m.role, m.content] for m in first.prompt.messages]
        asked = json.dumps([turns, first.text, second.text])
        packed = pack_critiques(critiques, first, second)
        key = hashlib.sha256(json.dumps([asked, packed, ask]).encode()).hexdigest()
        known = sa.select(_C.number).where(_C.key == key)
        with self._database.transaction() as connection:
            number = connection.execute(known).scalar_one_or_none()
            if number is not None:
                connection.execute(_at(number).values(wanted=True))
                return int(number)
            row = {"key": key, "asked": asked, "critiques": packed}
            new = sa.insert(_CASES).values(**row, wanted=True, leased_until=0.0)
            return int(connection.execute(new).inserted_primary_key[0])  # type: ignore[index]

    def take(self) -> Waiting | None:
        """The case that waits longest, leased to whoever asks; None if none waits."""
        now = time.time()
        free = (_C.verdict.is_(None), _C.wanted, _C.leased_until <= now)
        with self._database.transaction() as connection:
            row = connection.execute(
                sa.select(_CASES).where(*free).order_by(_C.number).limit(1)
            ).one_or_none()
            if row is None:
                return None
            connection.execute(_at(row.number).values(leased_until=now + self._lease_s))
        first, second, critiques = _read(row)
        return Waiting(number=row.number, first=first, second=second, critiques=critiques)

    def release(self, number: int) -> None:
        """Hand a case back that was taken and will not be answered."""
        with self._database.transaction() as connection:
            connection.execute(_at(number).values(leased_until=0.0))

    def answer(self, number: int, verdict: Verdict) -> Verdict:
        """The answer on record, which is this one unless somebody was earlier."""
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
            first, second, critiques = _read(row)
            if row.verdict is not None:
                return unpack_verdict(row.verdict, first, second)
            cost = Cost(calls=1, judge_s=verdict.cost.judge_s)
            verdict = replace(verdict, critiques=critiques, cost=cost)
            packed = pack_verdict(verdict, first, second)
            connection.execute(_at(number).values(verdict=packed))
        return verdict

    def verdict(self, number: int) -> Verdict | None:
        """What was answered; None if nothing was yet."""
        with self._database.transaction() as connection:
            row = connection.execute(
                sa.select(_CASES).where(_C.number == number, _C.verdict.is_not(None))
            ).one_or_none()
        return None if row is None else unpack_verdict(row.verdict, *_read(row)[:2])

    def withdraw(self, number: int) -> bool:
        """Hand a case out no more; False if it has been answered. A late answer is still kept."""
        unanswered = _at(number).where(_C.verdict.is_(None))
        with self._database.transaction() as connection:
            return connection.execute(unanswered.values(wanted=False)).rowcount == 1


def _at(number: int) -> sa.Update:
    return sa.update(_CASES).where(_C.number == number)


def _read(row: Any) -> tuple[Response, Response, tuple[Critique, ...]]:
    turns, *texts = json.loads(row.asked)
    prompt = Prompt(messages=tuple(Message(*turn) for turn in turns))
    first, second = (Response(prompt=prompt, text=text) for text in texts)
    return first, second, unpack_critiques(row.critiques, first, second)
