"""Keep readings on disk by content, for several processes at once.

    key  = sha256(trunk fingerprint, number type, token ids, response's place)
    file = <folder>/<sha256 of its keys and layers>.safetensors, one a batch

What was kept at many layers serves whoever asks for some of them. A file is written beside its
place and renamed into it, and never changed: processes need no lock. One that cannot be read, or
whose checksum is wrong, is left out with a warning and its rows are read again. A kept row may
differ from one read anew in the last bits (1e-6), because it was read in another batch: what must
repeat bit by bit is read without a cache, or with one of its own.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from trueline.errors import SetupError

__all__ = ["ReadingCache", "Row"]

Row = tuple[np.ndarray, np.ndarray | None]
"""Latents [..., L, P, D] and surprisal columns [..., 6], of one response or of several."""


class ReadingCache:
    """A folder of shards."""

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder).expanduser()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            got = f"{self.folder} ({error.strerror})"
            raise SetupError("the cache must be a folder that can be written", got=got) from error
        self._where: dict[str, list[tuple[str, int]]] = {}
        """Of a key, the files that hold it and its row there."""
        self._layers: dict[str, list[int]] = {}
        """Of each file seen."""

    def get(self, keys: Sequence[str], layers: Sequence[int]) -> dict[int, Row]:
        """Return the rows that are there, by position in `keys`: [L, P, D] and [6]."""
        names = {entry.name for entry in os.scandir(self.folder)} - set(self._layers)
        for name in sorted(name for name in names if name.endswith(".safetensors")):
            head = self._open(name, partial(_head, name=name))
            self._index(name, *(head or ([], [])))
        by_file: dict[str, list[tuple[int, int]]] = {}
        for i, key in enumerate(keys):
            for file, row in self._where.get(key, ()):
                if set(layers) <= set(self._layers[file]):
                    by_file.setdefault(file, []).append((i, row))
                    break
        rows_found: dict[int, Row] = {}
        for file, wanted in by_file.items():
            found: Any = self._open(file, _checked)
            at = [self._layers[file].index(layer) for layer in layers]
            for i, row in wanted if found else ():
                # Copied, so that few rows do not keep whole shards in memory.
                columns = None if found[1] is None else found[1][row].copy()
                rows_found[i] = (found[0][row, at], columns)
        return rows_found

    def put(self, keys: Sequence[str], layers: Sequence[int], rows: Row) -> None:
        """Write one batch [n, L, P, D], [n, 6]; a full disk raises `OSError` and leaves nothing."""
        named = zip(("latents", "surprisals"), rows, strict=True)
        tensors = {n: np.ascontiguousarray(x, np.float32) for n, x in named if x is not None}
        head = {"keys": json.dumps(list(keys)), "layers": json.dumps(list(layers))}
        meta = {**head, "sha256": _checksum(tensors)}
        name = _name(head)
        handle, temporary = tempfile.mkstemp(dir=self.folder, suffix=".tmp")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(save(tensors, metadata=meta))
            os.replace(temporary, self.folder / name)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
        self._index(name, keys, layers)

    def _index(self, name: str, keys: Sequence[str], layers: Sequence[int]) -> None:
        self._layers[name] = list(layers)
        for row, key in enumerate(keys):
            self._where.setdefault(key, []).append((name, row))

    def _open(self, name: str, read: Callable[[Any], Any]) -> Any:
        """Return what is read of a file; None, with a warning, where it cannot be used."""
        try:
            with safe_open(self.folder / name, framework="numpy") as shard:
                return read(shard)
        except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
            warnings.warn(
                f"cached readings {name} cannot be used ({error}); they are read again",
                stacklevel=3,
            )
            for places in self._where.values():
                places[:] = [place for place in places if place[0] != name]
            return None


def _name(head: dict[str, str]) -> str:
    return hashlib.sha256("".join(head.values()).encode()).hexdigest()[:40] + ".safetensors"


def _head(shard: Any, name: str) -> list[Any]:
    """Return the keys and layers of a file, which its name and its rows must be of."""
    about = shard.metadata() or {}
    head = {part: about.get(part, "[]") for part in ("keys", "layers")}
    if not about.get("layers"):
        return [[], []]  # of another version
    keys, layers = map(json.loads, head.values())
    num = len(keys)
    sizes = {part: shard.get_slice(part).get_shape() for part in shard.keys()}  # noqa: SIM118
    sized = sizes["latents"][:2] == [num, len(layers)]
    sized &= sizes.get("surprisals", [num, 6]) == [num, 6]
    typed = {type(key) for key in keys} <= {str} and {type(layer) for layer in layers} <= {int}
    if not (typed and sized and _name(head) == name):
        raise ValueError("its rows are not what its name says")
    return [keys, layers]


def _checked(shard: Any) -> Row:
    """Return the latents and surprisals of a file whose checksum is right."""
    tensors = {key: shard.get_tensor(key) for key in shard.keys()}  # noqa: SIM118
    if _checksum(tensors) != shard.metadata()["sha256"]:
        raise ValueError("wrong checksum")
    return tensors["latents"], tensors.get("surprisals")


def _checksum(tensors: dict[str, np.ndarray]) -> str:
    digest = hashlib.sha256()
    for key in sorted(tensors):
        digest.update(f"{key}{tensors[key].shape}".encode())
        digest.update(np.ascontiguousarray(tensors[key]).tobytes())
    return digest.hexdigest()
