"""Read the rows of .jsonl, .json, .csv, .parquet and .txt files; write .jsonl all or nothing.

Text files may be gzipped (`.jsonl.gz`). A `.json` file holds one list of objects, or one object a
line. A .csv cell is text; one that holds messages is refused, since .csv has no lists. Raises
`DataError` for a missing, empty, truncated or non-UTF-8 file, a row that is no object and an
unknown ending.

>>> import tempfile, pathlib
>>> path = pathlib.Path(tempfile.mkdtemp()) / "rows.jsonl"
>>> write_jsonl(path, [{"prompt": "2 + 2", "response": "4"}])
>>> [record.fields["response"] for record in read_records(path)]
['4']
"""

from __future__ import annotations

import contextlib
import csv
import gzip
import io
import json
import os
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from trueline.atomic import atomic_write, to_json
from trueline.errors import DataError

__all__ = ["FileRecord", "at_row", "read_lines", "read_records", "write_jsonl"]

ENDINGS = (".jsonl", ".jsonl.gz", ".json", ".json.gz", ".csv", ".csv.gz", ".parquet")
_BLANK = " \t\r\n"
T = TypeVar("T")
_MESSAGES = re.compile(r"\s*\[\s*\{\s*['\"](role|content|response)['\"]")
_MORE = "\0cells without a name"


@dataclass(frozen=True, slots=True)
class FileRecord:
    """One row of a file."""

    where: str
    """`file:number` for messages: the line, or for .json lists and .parquet the row from 1."""
    fields: Mapping[str, Any]


@contextlib.contextmanager
def at_row(where: str) -> Iterator[None]:
    """Name the row in every `DataError` that the block raises."""
    try:
        yield
    except DataError as error:
        got = where if error.got is None else f"{where}: {error.got}"
        raise DataError(error.must, got=got, do=error.do) from None


def read_records(path: str | os.PathLike[str]) -> list[FileRecord]:
    """Return the rows of a file, at least one, in its order."""
    path = Path(path)
    ending = _ending(path, ENDINGS)
    rows: Iterable[tuple[int, Any]]
    if ending == ".parquet":
        rows = enumerate(_parquet(path), start=1)
    elif ending.startswith(".csv"):
        rows = _csv(path, _text(path))
    elif ending.startswith(".jsonl") or not (text := _text(path)).lstrip(_BLANK).startswith("["):
        rows = ((number, _json(line, f"{path}:{number}")) for number, line in _filled(path))
    else:
        rows = enumerate(_json(text, str(path)), start=1)
    return _some([_record(row, f"{path}:{number}") for number, row in rows], path)


def read_lines(path: str | os.PathLike[str]) -> list[str]:
    """Return the lines of a text file that are not blank, at least one."""
    _ending(Path(path), (".txt", ".txt.gz"))
    return _some([line for _, line in _filled(Path(path))], Path(path))


def write_jsonl(path: str | os.PathLike[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Write one JSON object a line, gzipped where the name ends in .gz; NaN is refused."""
    path = Path(path)
    _ending(path, (".jsonl", ".jsonl.gz"))
    content = "".join(to_json(row, indent=None) + "\n" for row in rows).encode()
    # No time in the header: equal rows give equal bytes.
    packed = path.name.lower().endswith(".gz")
    atomic_write(path, gzip.compress(content, mtime=0) if packed else content)


def _ending(path: Path, allowed: tuple[str, ...]) -> str:
    for ending in sorted(allowed, key=len, reverse=True):
        if path.name.lower().endswith(ending):
            return ending
    must = f"a file must end in one of {', '.join(allowed)}"
    raise DataError(must, got=str(path), do="convert or rename it")


def _some(rows: list[T], path: Path) -> list[T]:
    if not rows:
        raise DataError("a file must hold at least one row", got=f"{path}: none")
    return rows


def _bytes(path: Path) -> bytes:
    try:
        data = path.read_bytes()
        if data and path.name.lower().endswith(".gz"):
            data = gzip.decompress(data)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        must = "a .gz file must be whole and gzipped"
        raise DataError(must, got=f"{path}: {error}", do="fetch or compress it again") from None
    except OSError as error:
        must = "the path must name a file that exists and can be read"
        raise DataError(must, got=f"{path}: {error.strerror}", do="check the path") from None
    _some([data] if data else [], path)
    return data


def _text(path: Path) -> str:
    data = _bytes(path).removeprefix(b"\xef\xbb\xbf")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        got = f"{path}:{line}: byte 0x{data[error.start]:02x}"
        raise DataError("text must be UTF-8", got=got, do="save the file as UTF-8") from None


def _filled(path: Path) -> Iterator[tuple[int, str]]:
    # Split at \n alone: str.splitlines would also cut at U+2028 inside a JSON string.
    for number, line in enumerate(_text(path).split("\n"), start=1):
        if line.strip(_BLANK):
            yield number, line.rstrip("\r")


def _json(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError("every row must be valid JSON", got=f"{where}: {error}") from None


def _record(row: object, where: str) -> FileRecord:
    if not isinstance(row, dict):
        raise DataError("every row must be a JSON object", got=f"{where}: {row!r:.40}")
    try:
        json.dumps(row, ensure_ascii=False, default=str).encode("utf-8")
    except UnicodeEncodeError:
        got = f"{where}: half a character (a lone surrogate)"
        raise DataError("text must be valid Unicode", got=got, do="mend the export") from None
    return FileRecord(where, row)


def _csv(path: Path, text: str) -> Iterator[tuple[int, dict[str, Any]]]:
    # pandas would fill up a short row without a word; the csv module lets the cells be counted.
    csv.field_size_limit(2**31 - 1)
    reader = csv.DictReader(io.StringIO(text, newline=""), restkey=_MORE, strict=True)
    try:
        for row in reader:
            if _MORE in row or None in row.values():
                must = f"every row must have the header's {len(reader.fieldnames or ())} cells"
                got, do = f"{path}:{reader.line_num}: more or fewer", "quote cells with commas"
                raise DataError(must, got=got, do=do)
            at = f"{path}:{reader.line_num}"
            yield reader.line_num, {name.strip(): _cell(row[name], at) for name in row}
    except csv.Error as error:
        got = f"{path}:{reader.line_num}: {error}"
        raise DataError("a .csv file must be valid", got=got) from None


def _cell(text: str, at: str) -> str | None:
    """Return a cell's text, None where it is missing."""
    if _MESSAGES.match(text):
        do = "save the rows as .jsonl or .parquet"
        raise DataError("a .csv cell must be text, no list of messages", got=at, do=do)
    # pandas writes a missing number as an empty cell or as nan, never on purpose.
    return None if text in ("", "nan", "NaN") else text


def _parquet(path: Path) -> list[dict[str, Any]]:
    # Slow to import, and few files need it.
    import pyarrow
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.read_table(io.BytesIO(_bytes(path)))
        return list(table.to_pylist())
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        got = f"{path}: {str(error).splitlines()[0]}"
        raise DataError("a .parquet file must be valid", got=got) from None
