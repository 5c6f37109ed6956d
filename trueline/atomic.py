"""Write files and folders whole or not at all, on disk once the call returns.

A file is written beside its place, synced and renamed, then its folder is synced (POSIX `rename`
is atomic; the order is that of Pillai et al. 2014, OSDI). An append that fails is cut off again.
Fails on file systems without atomic rename (some network mounts).

>>> import pathlib, tempfile
>>> file = pathlib.Path(tempfile.mkdtemp()) / "a.json"
>>> atomic_write(file, to_json({"x": np.float32(0.5)}))
>>> file.read_text().split()
['{', '"x":', '0.5', '}']
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from trueline.errors import DataError
from trueline.records import Estimate

__all__ = ["append_line", "atomic_folder", "atomic_write", "mend", "to_json"]

FRESH, OLD = ".tmp-", ".old-"


def atomic_write(path: Path, content: str | bytes) -> None:
    """Put `content` (text as UTF-8) at `path`, replacing what was there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f"{FRESH}{path.name}-{os.getpid()}")
    try:
        with open(beside, "wb", buffering=0) as file:
            _write_all(file.fileno(), content.encode() if isinstance(content, str) else content)
            os.fsync(file.fileno())
        os.replace(beside, path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    _sync(path.parent)


def append_line(path: Path, line: str) -> None:
    """Append `line` and its newline; if that fails the file is as it was before."""
    with open(path, "ab", buffering=0) as file:
        size = file.seek(0, os.SEEK_END)
        try:
            _write_all(file.fileno(), (line + "\n").encode())
            os.fsync(file.fileno())
        except BaseException:
            os.ftruncate(file.fileno(), size)
            raise
    if not size:
        _sync(path.parent)


@contextlib.contextmanager
def atomic_folder(place: Path) -> Iterator[Path]:
    """Give a folder to fill; it becomes `place`, replacing any other, when the block ends well."""
    fresh, old = place.with_name(FRESH + place.name), place.with_name(OLD + place.name)
    _remove(fresh)
    fresh.mkdir(parents=True)
    try:
        yield fresh
        for path in sorted(fresh.rglob("*")):
            _sync(path)
        _sync(fresh)
        if place.exists():
            _remove(old)
            os.rename(place, old)
        os.rename(fresh, place)
    except BaseException:
        _remove(fresh)
        if old.exists() and not place.exists():
            os.rename(old, place)
        raise
    _sync(place.parent)
    _remove(old)


def mend(folder: Path) -> None:
    """Undo what a kill inside one of the above left in `folder`, where nobody else may write."""
    for old in sorted(folder.glob(OLD + "*")):
        place = old.with_name(old.name.removeprefix(OLD))
        if place.exists():
            _remove(old)
        else:
            os.rename(old, place)
    for fresh in sorted(folder.glob(FRESH + "*")):
        _remove(fresh)


def to_json(value: Any, *, indent: int | None = 2) -> str:
    """Return JSON of mappings, records, arrays and paths; refuses NaN and infinity."""
    options = {"ensure_ascii": False, "indent": indent, "allow_nan": False}
    try:
        return json.dumps(value, default=_plain, **options)  # type: ignore[arg-type]
    except ValueError as error:
        raise DataError(
            "a recorded number must be finite, or None where missing", got=str(error)
        ) from None


def _plain(value: Any) -> Any:
    """Return what `json` does not know as something that it does."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, Estimate):
        return value.as_dict()
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return dict(value)
    raise DataError("a recorded value must be plain data", got=type(value).__name__)


def _write_all(descriptor: int, content: bytes) -> None:
    view = memoryview(content)
    while view:
        view = view[os.write(descriptor, view) :]


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
