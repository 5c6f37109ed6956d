"""Store labels on disk: a verdict that `add` has returned is never lost.

A label is known by its purpose, round, pair (in the order shown) and rater; adding it again returns
the verdict on record, so that a loop resumed after a kill asks nobody twice and a double click
counts once. Several processes may write one store.

Labels to learn from and labels that certify (the gate's) lie in tables of their own, so that no
query for the one can return the other; asking for the gate's as comparisons raises
`InvalidExperiment`. A prompt's `meta` and a response's `logp` are no part of a label.

A `Database` is SQLite in write-ahead mode by default (`synchronous=FULL`: a power cut loses nothing
either), any SQLAlchemy URL otherwise. Raises `SetupError` for a folder that is missing, a file that
is no database, cannot be written or is of another format; a full disk surfaces as `OSError`.

>>> from trueline.records import Prompt, Response
>>> store = LabelStore("sqlite://")
>>> good, bad = (Response(prompt=Prompt.of("2 + 2"), text=text) for text in "45")
>>> verdict = Verdict(preference=Preference.FIRST, rater="ann")
>>> _ = store.add(verdict, Case(first=good, second=bad), purpose="learn")
>>> store.comparisons()[0].chosen.text, store.spent()
('4', {'learn': 1, 'gate': 0})
"""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import json
import os
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, Self, TypeVar

import sqlalchemy as sa
from pydantic import TypeAdapter
from sqlalchemy.exc import ArgumentError, DatabaseError, IntegrityError

from trueline.data.comparisons import Comparisons
from trueline.errors import InvalidExperiment, SetupError
from trueline.records import Case, Comparison, Preference, Verdict

__all__ = ["Database", "Label", "LabelStore", "Purpose", "pack", "unpack"]

Purpose = Literal["learn", "gate"]
T = TypeVar("T")

FORMAT = 4
"""Version of the tables below; a store of another version is refused, never guessed at."""
WAIT_S = 60
"""How long a transaction waits for another process's."""
_METADATA = sa.MetaData()
_VERSION = sa.Table("schema_version", _METADATA, sa.Column("version", sa.Integer, nullable=False))


def _labels(name: str) -> sa.Table:
    return sa.Table(
        name,
        _METADATA,
        sa.Column("position", sa.Integer, primary_key=True),
        sa.Column("round", sa.Integer, nullable=False),
        *(sa.Column(key, sa.String(255), nullable=False) for key in ("pair", "rater")),
        sa.Column("label", sa.Text, nullable=False),
        sa.UniqueConstraint("round", "pair", "rater", name=f"{name}_once"),
    )


_TABLES = {"learn": _labels("learn_labels"), "gate": _labels("gate_labels")}


@dataclass(frozen=True, kw_only=True)
class Label:
    """What is stored: a verdict, and the case in the order shown."""

    case: Case
    verdict: Verdict


class Database:
    """A database at a path, made if missing, or at a SQLAlchemy URL; `what` it is, for messages."""

    def __init__(self, place: str | os.PathLike[str], *, what: str) -> None:
        self.place, self.what = os.fspath(place), what
        url = self.place if "://" in self.place else f"sqlite:///{self.place}"
        try:
            self._engine = sa.create_engine(url)
        except (ArgumentError, ModuleNotFoundError) as error:
            must = f"the {what} must be a path or a SQLAlchemy URL whose driver is installed"
            raise SetupError(must, got=f"{self.place}: {error}") from None
        if self._engine.dialect.name == "sqlite":
            if (file := self._engine.url.database) not in (None, "", ":memory:"):
                # Labels are private. What cannot be made here cannot be opened below either.
                with contextlib.suppress(OSError):
                    os.close(os.open(file, os.O_CREAT | os.O_CLOEXEC, 0o600))
            sa.event.listen(self._engine, "connect", _set_up)
            # Waits its turn at the start, so that no transaction is refused half-way.
            sa.event.listen(self._engine, "begin", lambda c: c.exec_driver_sql("BEGIN IMMEDIATE"))

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

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _set_up(connection: Any, _: object) -> None:
    # Python's own transactions begin too late for reading a version and then writing it.
    connection.isolation_level = None
    connection.execute(f"PRAGMA busy_timeout={WAIT_S * 1000}")
    # SQLite does not wait where a new file is switched to write-ahead mode beside a writer.
    started = time.monotonic()
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            break
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() - started > WAIT_S:
                raise
            time.sleep(0.01)
    connection.execute("PRAGMA synchronous=FULL")


class LabelStore(Database):
    """Labels on disk. `url`: a path, made if missing, or a SQLAlchemy URL."""

    def __init__(self, url: str | os.PathLike[str]) -> None:
        super().__init__(url, what="label store")
        with self.transaction() as connection:
            _VERSION.create(connection, checkfirst=True)
            version = connection.execute(sa.select(sa.func.max(_VERSION.c.version))).scalar()
            if version is None:
                _METADATA.create_all(connection)
                connection.execute(sa.insert(_VERSION).values(version=FORMAT))
            elif version != FORMAT:
                must, got = f"a label store must have format {FORMAT}", f"format {version}"
                do = "open it with the version of trueline that wrote it"
                raise SetupError(must, got=f"{got} in {self.place}", do=do)

    def add(self, verdict: Verdict, case: Case, *, purpose: Purpose, round: int = 0) -> Verdict:
        """Store a verdict; return the one on record, which is the earliest of equal askings."""
        label = pack(Label(case=case, verdict=verdict))
        row = {"round": round, "pair": _pair(case), "rater": verdict.rater, "label": label}
        try:
            with self.transaction() as connection:
                connection.execute(sa.insert(_TABLES[purpose]).values(row))
                return verdict
        except IntegrityError:
            known = self.find(case, rater=verdict.rater, purpose=purpose, round=round)
            if known is None:
                raise
            return known

    def find(
        self, case: Case, *, rater: str | None = None, purpose: Purpose, round: int = 0
    ) -> Verdict | None:
        """Return the verdict on record, if any, of this rater or (None) of whoever was first."""
        known = {"round": round, "pair": _pair(case), **({} if rater is None else {"rater": rater})}
        return next((label.verdict for label, _ in self._labels(purpose, **known)), None)

    def comparisons(
        self, purpose: Purpose = "learn", *, last_round: int | None = None
    ) -> Comparisons:
        """Return labels to learn from, in the order added; the undecided count as `skipped`."""
        if purpose == "gate":
            must = "gate labels must not be learned from: they certify what was learned"
            raise InvalidExperiment(must, got="comparisons('gate')", do="ask for 'learn'")
        pairs, skipped = [], Counter[str]()
        for label, round in self._labels(purpose):
            if last_round is not None and round > last_round:
                continue
            verdict = label.verdict
            if verdict.preference is Preference.UNDECIDED:
                skipped["undecided"] += 1
                continue
            first = verdict.preference is Preference.FIRST
            chosen, rejected = (label.case if first else label.case.mirrored).responses
            pairs.append(
                Comparison(chosen=chosen, rejected=rejected, rater=verdict.rater, round=round)
            )
        return Comparisons(tuple(pairs), skipped)

    def spent(self) -> dict[str, int]:
        """Return how many labels each purpose has taken, undecided ones included."""
        count = {p: sa.select(sa.func.count()).select_from(table) for p, table in _TABLES.items()}
        with self.transaction() as connection:
            return {p: int(connection.execute(query).scalar_one()) for p, query in count.items()}

    def seconds(self, purpose: Purpose, *, round: int) -> list[float]:
        """Return the seconds that judging took, for each label of a round."""
        return [label.verdict.cost.judge_s for label, _ in self._labels(purpose, round=round)]

    def _labels(self, purpose: Purpose, **known: object) -> list[tuple[Label, int]]:
        """The labels of which this is known, each with its round, in the order added."""
        table = _TABLES[purpose]
        query = sa.select(table.c.label, table.c.round).filter_by(**known)
        with self.transaction() as connection:
            rows = connection.execute(query.order_by(table.c.position)).all()
        return [(unpack(Label, packed), round) for packed, round in rows]


def _pair(case: Case) -> str:
    return hashlib.sha256(f"{case.first.key} {case.second.key}".encode()).hexdigest()


_BARE = {"prompt": {"meta"}, "logp": True, "num_tokens": True}
_CRITIQUES = {"__all__": {"response": _BARE}}
_LEFT_OUT: Any = {
    **{"first": _BARE, "second": _BARE, "critiques": _CRITIQUES},
    **{"case": {"first": _BARE, "second": _BARE, "source": True}},
    **{"verdict": {"critiques": _CRITIQUES}},
}
"""What is no part of a label, wherever a response stands."""
_form = functools.cache(TypeAdapter)


def pack(record: Any) -> str:
    """Return a record of responses, critiques or a verdict as JSON."""
    kind: Any = type(record)
    # In ASCII: half a character would not be stored as UTF-8.
    return json.dumps(_form(kind).dump_python(record, mode="json", exclude=_LEFT_OUT))


def unpack(kind: type[T], packed: str) -> T:
    """Return the record of that kind that `pack` wrote."""
    hashable: Any = kind
    record: T = _form(hashable).validate_python(json.loads(packed))
    return record
