"""A database on disk whose finished transactions are never lost, and verdicts as JSON for it.

SQLite in write-ahead mode by default (`synchronous=FULL`, so that a power cut loses nothing
either), any SQLAlchemy URL otherwise. Several processes may write one file: each waits its turn.

Raises `SetupError` for a folder that is missing, a file that is no database or cannot be written;
a full disk surfaces as `OSError` (ENOSPC).

>>> from trueline.records import Preference, Prompt
>>> first, second = (Response(prompt=Prompt.of("2 + 2"), text=text) for text in "45")
>>> verdict = Verdict(preference=Preference.FIRST, rater="ann", text="four it is")
>>> unpack_verdict(pack_verdict(verdict, first, second), first, second) == verdict
True
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from pydantic import TypeAdapter
from sqlalchemy.exc import ArgumentError, DatabaseError, IntegrityError
from sqlalchemy.pool import StaticPool

from trueline.errors import InputError, SetupError
from trueline.records import Critique, Response, Verdict

__all__ = ["Database", "pack_critiques", "pack_verdict", "unpack_critiques", "unpack_verdict"]

_PATIENCE_S = 60.0
_CRITIQUES, _VERDICT = TypeAdapter(tuple[Critique, ...]), TypeAdapter(Verdict)


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
