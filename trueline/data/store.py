"""The store of labels: a verdict that `add` has returned is on disk and is never lost.

A label is known by its purpose, round, pair (in the order shown), rater and `ask` (which repeat of
the same question); adding it again returns the verdict on record, so that a loop resumed after a
kill asks nobody twice and a double click counts once. Several processes may write one store.

Labels to learn from and labels that certify (the gate's) lie in tables of their own, so that no
query for the one can return the other; asking for the gate's as comparisons raises
`InvalidExperiment`. A prompt's `meta` and a response's `logp` are no part of a label.

Raises `SetupError` for a folder that is missing, a file that is no database or of another format;
a full disk surfaces as `OSError` (ENOSPC).

>>> store = LabelStore("sqlite://")
>>> good, bad = (Response(prompt=Prompt.of("2 + 2"), text=text) for text in "45")
>>> _ = store.add(Verdict(preference=Preference.FIRST, rater="ann"), good, bad, purpose="learn")
>>> store.comparisons()[0].chosen.text, store.spent()
('4', {'learn': 1, 'gate': 0})
"""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import json
import os
from typing import Any, Literal, Self

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from trueline.data.comparisons import Comparisons
from trueline.data.database import Database, pack_verdict, unpack_verdict
from trueline.errors import InputError, InvalidExperiment, SetupError
from trueline.records import Comparison, Message, Preference, Prompt, Response, Verdict

__all__ = ["LabelStore", "Purpose"]

Purpose = Literal["learn", "gate"]

FORMAT = 3
"""Version of the tables below; a store of another version is refused, never guessed at."""
_METADATA = sa.MetaData()
_VERSION = sa.Table("schema_version", _METADATA, sa.Column("version", sa.Integer, nullable=False))


def _labels(purpose: Purpose) -> sa.Table:
    name, texts = f"{purpose}_labels", ("prompt", "first", "second", "verdict", "created")
    return sa.Table(
        name,
        _METADATA,
        sa.Column("position", sa.Integer, primary_key=True),
        *(sa.Column(number, sa.Integer, nullable=False) for number in ("round", "ask")),
        *(sa.Column(key, sa.String(255), nullable=False) for key in ("pair", "rater")),
        *(sa.Column(text, sa.Text, nullable=False) for text in texts),
        sa.Column("preference", sa.String(16), nullable=False),
        sa.Column("judge_s", sa.Float, nullable=False),
        sa.Column("assist", sa.Text),
        sa.UniqueConstraint("round", "pair", "ask", "rater", name=f"{name}_once"),
    )


_TABLES = {"learn": _labels("learn"), "gate": _labels("gate")}


class LabelStore:
    """Labels on disk. `url`: a path, made if missing, or a SQLAlchemy URL."""

    def __init__(self, url: str | os.PathLike[str]) -> None:
        self._database = Database(url, what="label store")
        with self._database.transaction() as connection:
            _VERSION.create(connection, checkfirst=True)
            version = connection.execute(sa.select(sa.func.max(_VERSION.c.version))).scalar()
            if version is None:
                _METADATA.create_all(connection)
                connection.execute(sa.insert(_VERSION).values(version=FORMAT))
            elif version != FORMAT:
                raise SetupError(
                    f"a label store must have format {FORMAT}",
                    got=f"format {version} in {os.fspath(url)}",
                    do="open it with the version of trueline that wrote it",
                )

    def add(
        self,
        verdict: Verdict,
        first: Response,
        second: Response,
        *,
        purpose: Purpose,
        round: int = 0,
        ask: int = 0,
        assist: str | None = None,
    ) -> Verdict:
        """Store a verdict; return the one on record, which is the earliest of equal askings.

        `assist` names the protocol by which it came about.
        """
        table = _table(purpose)
        if first.prompt.key != second.prompt.key:
            raise InputError("both responses must answer the same prompt", got="two prompts")
        row = {
            "round": round,
            "pair": _pair(first, second),
            "ask": ask,
            "rater": verdict.rater,
            "assist": assist,
            "prompt": json.dumps([[m.role, m.content] for m in first.prompt.messages]),
            "first": first.text,
            "second": second.text,
            "preference": verdict.preference.value,
            "judge_s": verdict.cost.judge_s,
            "verdict": pack_verdict(verdict, first, second),
            "created": datetime.datetime.now(datetime.UTC).isoformat(),
        }
        with contextlib.suppress(IntegrityError), self._database.transaction() as connection:
            connection.execute(sa.insert(table).values(row))
            return verdict
        known = self.find(first, second, rater=verdict.rater, purpose=purpose, round=round, ask=ask)
        if known is None:
            must = "a label must be stored or on record"
            raise SetupError(must, got=f"neither, in {self._database.place}")
        return known

    def find(
        self,
        first: Response,
        second: Response,
        *,
        rater: str | None = None,
        purpose: Purpose,
        round: int = 0,
        ask: int = 0,
    ) -> Verdict | None:
        """Return the verdict on record, if any, of this rater or (None) of whoever was first."""
        table = _table(purpose)
        query = sa.select(table.c.verdict).filter_by(
            round=round,
            pair=_pair(first, second),
            ask=ask,
            **({} if rater is None else {"rater": rater}),
        )
        with self._database.transaction() as connection:
            packed = connection.execute(query.order_by(table.c.position).limit(1)).scalar()
        return None if packed is None else unpack_verdict(packed, first, second)

    def comparisons(
        self, purpose: Purpose = "learn", *, last_round: int | None = None
    ) -> Comparisons:
        """Return labels to learn from, in the order added; the undecided count as `skipped`."""
        if purpose == "gate":
            must = "gate labels must not be learned from: they certify what was learned"
            raise InvalidExperiment(must, got="comparisons('gate')", do="ask for 'learn'")
        table = _table(purpose)
        query = sa.select(table).order_by(table.c.position)
        if last_round is not None:
            query = query.where(table.c.round <= last_round)
        with self._database.transaction() as connection:
            labels = connection.execute(query).all()
        decided = [row for row in labels if row.preference != Preference.UNDECIDED]
        undecided = len(labels) - len(decided)
        skipped = {"undecided": undecided} if undecided else {}
        return Comparisons(tuple(map(_comparison, decided)), skipped)

    def spent(self) -> dict[str, int]:
        """Return how many labels each purpose has taken, undecided ones included."""
        count = {p: sa.select(sa.func.count()).select_from(table) for p, table in _TABLES.items()}
        with self._database.transaction() as connection:
            return {p: int(connection.execute(query).scalar_one()) for p, query in count.items()}

    def seconds(self, purpose: Purpose, *, round: int) -> list[tuple[str | None, float]]:
        """Return how each label of a round was assisted, and the seconds that judging it took."""
        table = _table(purpose)
        query = sa.select(table.c.assist, table.c.judge_s).filter_by(round=round)
        with self._database.transaction() as connection:
            rows = connection.execute(query.order_by(table.c.position)).all()
        return [(row.assist, row.judge_s) for row in rows]

    def close(self) -> None:
        """Let go of the file."""
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _table(purpose: str) -> sa.Table:
    if purpose not in _TABLES:
        raise InputError("a label's purpose must be learn or gate", got=repr(purpose))
    return _TABLES[purpose]


def _pair(first: Response, second: Response) -> str:
    return hashlib.sha256(f"{first.key} {second.key}".encode()).hexdigest()


def _comparison(row: Any) -> Comparison:
    prompt = Prompt(messages=tuple(Message(*turn) for turn in json.loads(row.prompt)))
    texts = (row.first, row.second)
    if row.preference == Preference.SECOND:
        texts = (row.second, row.first)
    chosen, rejected = (Response(prompt=prompt, text=text) for text in texts)
    return Comparison(chosen=chosen, rejected=rejected, rater=row.rater, round=row.round)
