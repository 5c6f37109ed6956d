"""Read the rows of .jsonl, .json, .csv, .parquet and .txt files and of data sets; write .jsonl.

Any file may be gzipped (`.jsonl.gz`). A `.json` file holds one list of objects, or one object a
line; a line of .txt is the row {"text"}. A data set is a folder (of `save_to_disk`, or of data
files) or a name of the hub, as `datasets` loads it; `:SPLIT` or `:CONFIG:SPLIT` may follow. Raises
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
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from trueline.atomic import atomic_write, to_json
from trueline.errors import DataError

__all__ = ["FileRecord", "at_row", "read_records", "take", "write_jsonl"]

_BLANK = " \t\r\n"
_HUB = re.compile(r"[\w.-]+/[\w.-]+(:[\w.-]+){0,2}|[\w.-]+(:[\w.-]+){1,2}")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class FileRecord:
    """One row of a file."""

    where: str
    """`file:number` for messages: the line, or for .json lists and .parquet the row from 1."""
    fields: Mapping[str, Any]
    fault: DataError | None = None


@contextlib.contextmanager
def at_row(where: str) -> Iterator[None]:
    """Name the row in every `DataError` that the block raises."""
    try:
        yield
    except DataError as error:
        got = where if error.got is None else f"{where}: {error.got}"
        raise DataError(error.must, got=got, do=error.do) from None


def take(fields: Mapping[str, Any], name: str, form: TypeAdapter[T]) -> T:
    """Return a field's value in its form; `DataError` names the field, what it must be and got."""
    try:
        return form.validate_python(fields.get(name))
    except ValidationError as error:
        fault = error.errors()[0]
        place = ".".join(map(str, (name, *fault["loc"])))
        got = f"{fault['input']!r:.40}" if name in fields else f"only {', '.join(fields) or 'none'}"
        must = f"`{place}`: {fault['msg'][0].lower()}{fault['msg'][1:]}"
        raise DataError(must, got=got, do="mend or drop the row") from None


def read_records(path: str | os.PathLike[str], *, strict: bool = True) -> list[FileRecord]:
    """Return the rows of a file or data set, at least one, in its order.

    A row that is no JSON object has a `fault`, which is raised where `strict`.
    """
    path = Path(path)
    rows: Iterable[tuple[int, Any]]
    if not path.is_file() and (Path(str(path).split(":")[0]).is_dir() or _HUB.fullmatch(str(path))):
        rows = enumerate(_dataset(str(path)), start=1)
    elif (ending := _ending(path, (".jsonl", ".json", ".csv", ".parquet", ".txt"))) == ".parquet":
        rows = enumerate(_parquet(path), start=1)
    elif ending == ".csv":
        rows = _csv(path)
    elif ending == ".txt":
        rows = ((number, {"text": line}) for number, line in _lines(path))
    elif ending == ".json" and (text := _text(path)).lstrip(_BLANK).startswith("["):
        rows = enumerate(_json(text, str(path)), start=1)
    else:
        rows = _lines(path)
    records = [_record(row, f"{path}:{number}") for number, row in rows]
    if not records:
        raise DataError("a file must hold at least one row", got=f"{path}: none")
    faults = [record.fault for record in records if record.fault is not None]
    if faults and (strict or len(faults) == len(records)):
        raise faults[0]
    return records


def _dataset(path: str) -> Sequence[Any]:
    # Slow to import, and few need it.
    import datasets
    from datasets.exceptions import DatasetsError

    name, *how = path.split(":")
    is_saved = any((Path(name) / file).is_file() for file in ("state.json", "dataset_dict.json"))
    try:
        found: Any = (
            datasets.load_from_disk(name)
            if is_saved
            else datasets.load_dataset(name, how[0] if len(how) > 1 else None)
        )
    except (OSError, ValueError, EOFError, StopIteration, zlib.error, DatasetsError) as error:
        must = "a data set must be a folder or a name of the hub that `datasets` can load"
        got = f"{name}: {str(error).splitlines()[0] if str(error) else type(error).__name__}"
        raise DataError(must, got=got, do="check the name, or give a file") from None
    if isinstance(found, dict):
        split = how[-1] if how else next(iter(found)) if len(found) == 1 else None
        if split not in found:
            got, do = f"{path}: {', '.join(found)}", f"give {name}:{next(iter(found))}"
            raise DataError("one split of the data set must be named", got=got, do=do)
        found = found[split]
    rows: Sequence[Any] = found
    return rows


def write_jsonl(path: str | os.PathLike[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Write one JSON object a line, gzipped where the name ends in .gz; NaN is refused."""
    path = Path(path)
    _ending(path, (".jsonl",))
    content = "".join(to_json(row, indent=None) + "\n" for row in rows).encode()
    # No time in the header: equal rows give equal bytes.
    packed = path.name.lower().endswith(".gz")
    atomic_write(path, gzip.compress(content, mtime=0) if packed else content)


def _ending(path: Path, allowed: tuple[str, ...]) -> str:
    ending = Path(path.name.lower().removesuffix(".gz")).suffix
    if ending not in allowed:
        must = f"a file must end in one of {', '.join(allowed)}, or in those with .gz"
        raise DataError(must, got=str(path), do="convert or rename it")
    return ending


_ALWAYS, _TIMES = 1 << 26, 200
"""Bytes that any .gz file may unpack to, and how many times its size a larger one may."""


def _bytes(path: Path) -> bytes:
    try:
        data = path.read_bytes()
        if not path.name.lower().endswith(".gz"):
            return data
        most = max(_ALWAYS, _TIMES * len(data))
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as packed:
            data = packed.read(most + 1)
        if len(data) > most:
            raise DataError(
                f"a .gz file must unpack to at most {_TIMES} times its size", got=str(path)
            )
        return data
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        must = "a .gz file must be whole and gzipped"
        raise DataError(must, got=f"{path}: {error}", do="fetch or compress it again") from None
    except OSError as error:
        must = "the path must name a file that exists and can be read"
        raise DataError(must, got=f"{path}: {error.strerror}", do="check the path") from None


def _text(path: Path) -> str:
    data = _bytes(path).removeprefix(b"\xef\xbb\xbf")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        got = f"{path}:{line}: byte 0x{data[error.start]:02x}"
        raise DataError("text must be UTF-8", got=got, do="save the file as UTF-8") from None


def _lines(path: Path) -> Iterator[tuple[int, str]]:
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
    try:
        row = _json(row, where) if isinstance(row, str) else row
        if not isinstance(row, dict):
            raise DataError("every row must be a JSON object", got=f"{where}: {row!r:.40}")
        json.dumps(row, ensure_ascii=False, default=str).encode("utf-8")
    except UnicodeEncodeError:
        got = f"{where}: half a character (a lone surrogate)"
        fault = DataError("text must be valid Unicode", got=got, do="mend the export")
        return FileRecord(where, {}, fault)
    except DataError as fault:
        return FileRecord(where, {}, fault)
    return FileRecord(where, row)


def _csv(path: Path) -> Iterator[tuple[int, dict[str, str | None]]]:
    # pandas would fill up a short row without a word; the csv module lets the cells be counted.
    csv.field_size_limit(2**31 - 1)
    reader = csv.reader(io.StringIO(_text(path), newline=""), strict=True)
    try:
        header = [name.strip() for name in next(reader, [])]
        for cells in filter(None, reader):
            where = f"{path}:{reader.line_num}"
            if len(cells) != len(header):
                must = f"every row must have the header's {len(header)} cells"
                raise DataError(must, got=f"{where}: {len(cells)}", do="quote cells with commas")
            # pandas writes a missing number as an empty cell or as nan, never on purpose.
            values = [None if cell in ("", "nan", "NaN") else cell for cell in cells]
            yield reader.line_num, dict(zip(header, values, strict=True))
    except csv.Error as error:
        got = f"{path}:{reader.line_num}: {error}"
        raise DataError("a .csv file must be valid", got=got) from None


def _parquet(path: Path) -> list[dict[str, Any]]:
    # Slow to import, and few files need it.
    import pyarrow
    import pyarrow.parquet

    try:
        return list(pyarrow.parquet.read_table(io.BytesIO(_bytes(path))).to_pylist())
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        got = f"{path}: {str(error).splitlines()[0]}"
        raise DataError("a .parquet file must be valid", got=got) from None
