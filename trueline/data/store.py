"""Store labels on disk: a verdict that `add` has returned is never lost.

A label is known by its purpose, round, pair (in the order shown), rater and `ask` (which repeat of
the same question); adding it again returns the verdict on record, so that a loop resumed after a
kill asks nobody twice and a double click counts once. Several processes may write one store.

Labels to learn from and labels that certify (the gate's) lie in tables of their own, so that no
query for the one can return the other; asking for the gate's as comparisons raises
`InvalidExperiment`. A prompt's `meta` and a response's `logp` are no part of a label.

A `Database` is SQLite in write-ahead mode by default (`synchronous=FULL`: a power cut loses nothing
either), any SQLAlchemy URL otherwise. Raises `SetupError` for a folder that is missing, a file that
is no database, cannot be written or is of another format; a full disk surfaces as `OSError`.

>>> store = LabelStore("sqlite://")
>>> good, bad = (Response(prompt=Prompt.of("2 + 2"), text=text) for text in "45")
>>> _ = store.add(Verdict(preference=Preference.FIRST, rater="ann"), good, bad, purpose="learn")
>>> store.comparisons()[0].chosen.text, store.spent()
('4', {'learn': 1, 'gate': 0})
"""

from __future__ import annotations

import contextlib
import datetime
import errno
import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, Self

import sqlalchemy as sa
from pydantic import TypeAdapter
from sqlalchemy.exc import ArgumentError, DatabaseError, IntegrityError
from sqlalchemy.pool import StaticPool

from trueline.data.comparisons import Comparisons
from trueline.errors import InputError, InvalidExperiment, SetupError
from trueline.records import Comparison, Critique, Message, Preference, Prompt, Response, Verdict

__all__ = [
    "Database",
    "LabelStore",
    "Purpose",
    "pack_critiques",
    "pack_verdict",
    "unpack_critiques",
    "unpack_verdict",
]

Purpose = Literal["learn", "gate"]

FORMAT = 3
"""Version of the tables below; a store of another version is refused, never guessed at."""
_PATIENCE_S = 60.0
"""How long a writer waits for another process's transaction."""
_CRITIQUES, _VERDICT = TypeAdapter(tuple[Critique, ...]), TypeAdapter(Verdict)
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


class Database:
    """A database at a path, made if missing, or at a SQLAlchemy URL; `what` it is, for messages."""

    def __init__(self, place: str | os.PathLike[str], *, what: str) -> None:
        self.place, self.what = os.fspath(place), what
        self._engine = _engine(self.place, what)

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sa.Connection]:
        """Open a transaction that is on disk when the block has ended."""
        try:
            with self._engine.begin() as connection:
                yield connection
        except IntegrityError:
            raise
        except DatabaseError as error:
            if "disk is full" in str(error.orig):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), self.place) from None
            must = f"the {self.what} must be a database that can be opened and written"
            got, do = f"{self.place}: {error.orig}", "check the path and its permissions"
            raise SetupError(must, got=got, do=do) from None

    def close(self) -> None:
        """Let go of the file."""
        self._engine.dispose()


def _engine(place: str, what: str) -> sa.Engine:
    if "://" not in place:
        if not Path(place).parent.is_dir():
            folder = str(Path(place).parent)
            raise SetupError(f"the {what}'s folder must exist", got=folder, do="create it")
        place = f"sqlite:///{place}"
    try:
        url = sa.make_url(place)
        if url.get_backend_name() != "sqlite":
            return sa.create_engine(url)
    except (ArgumentError, ModuleNotFoundError) as error:
        must = f"the {what} must be a path or a SQLAlchemy URL whose driver is installed"
        raise SetupError(must, got=f"{place}: {error}") from None
    in_memory = url.database in (None, "", ":memory:")
    engine = sa.create_engine(
        url,
        connect_args={"timeout": _PATIENCE_S, "check_same_thread": False},
        **({"poolclass": StaticPool} if in_memory else {}),
    )
    sa.event.listen(engine, "connect", _set_up)
    # Waits its turn at the start, so that no transaction is refused half-way.
    sa.event.listen(engine, "begin", lambda c: c.exec_driver_sql("BEGIN IMMEDIATE"))
    return engine


def _set_up(connection: Any, _: object) -> None:
    # Python's own transactions begin too late for reading a version and then writing it.
    connection.isolation_level = None
    for pragma in ("journal_mode=WAL", "synchronous=FULL"):
        connection.execute(f"PRAGMA {pragma}")


def pack_verdict(verdict: Verdict, first: Response, second: Response) -> str:
    """Return a verdict on two responses as JSON; they are not in it themselves."""
    row = _VERDICT.dump_python(verdict, mode="json", exclude={"critiques"})
    return json.dumps({**row, "critiques": pack_critiques(verdict.critiques, first, second)})


def unpack_verdict(packed: str, first: Response, second: Response) -> Verdict:
    """Return what `pack_verdict` wrote of these responses."""
    row = json.loads(packed)
    row["critiques"] = unpack_critiques(row["critiques"], first, second)
    return _VERDICT.validate_python(row)


def pack_critiques(critiques: Sequence[Critique], first: Response, second: Response) -> str:
    """Return critiques of two responses as JSON; InputError where one is of another response."""
    sides = {second.key: 1, first.key: 0}
    if any(critique.response.key not in sides for critique in critiques):
        raise InputError("a critique must be of one of the two responses", got="another's")
    rows = _CRITIQUES.dump_python(tuple(critiques), mode="json", exclude={"__all__": {"response"}})
    for row, critique in zip(rows, critiques, strict=True):
        row["side"] = sides[critique.response.key]
    return json.dumps(rows)


def unpack_critiques(packed: str, first: Response, second: Response) -> tuple[Critique, ...]:
    """Return what `pack_critiques` wrote of these responses."""
    rows = [{**row, "response": (first, second)[row["side"]]} for row in json.loads(packed)]
    return _CRITIQUES.validate_python(rows)
