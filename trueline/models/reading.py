"""Hold what one frozen pass over N responses yields: pooled latents and token surprisals.

    latents[n, l, p]  = pool_p(h_l(prompt_n, response_n))            [N, L, P, D]
    surprisals[n]     = (sum, mean, largest, second largest, length) of -log p(token) [N, 5]

The sum of the surprisals is minus the reference log-probability. Pools: "last" (the response's
last token), "mean" (over its tokens).

Shapes: N rows, L layers read, P pools, D width. Units: nats. Rows are unique responses, looked up
by `Response.key`.

>>> import numpy as np
>>> r = Readings(keys=("a", "b"), latents=np.ones((2, 3, 2, 4), np.float32), layers=(0, 1, 2),
...              surprisals=np.ones((2, 5), np.float32))
>>> r.features(1, "both").shape, r.logp.tolist(), r.rows(["b", "a"]).tolist()
((2, 13), [-1.0, -1.0], [1, 0])
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save_file

from trueline.errors import DataError, InputError, InvalidExperiment
from trueline.records import Message, Prompt, Response

__all__ = ["SURPRISAL_COLUMNS", "HasResponses", "Readings", "distinct"]

SURPRISAL_COLUMNS = ("sum", "mean", "largest", "second_largest", "length")


class HasResponses(Protocol):
    """Anything with unique responses, such as `Comparisons`."""

    @property
    def responses(self) -> Sequence[Response]: ...


def distinct(given: Sequence[Response] | HasResponses) -> list[Response]:
    """Return each distinct response, in order of first appearance; none is a `DataError`."""
    responses = given.responses if hasattr(given, "responses") else given
    if not responses:
        raise DataError("there must be at least one response to read", got="none")
    return list({r.key: r for r in responses}.values())


@dataclass(frozen=True)
class Readings:
    """N rows of what a trunk makes of a response; made by `Trunk.read`."""

    keys: tuple[str, ...]
    latents: np.ndarray
    """float32 [N, L, P, D]"""
    layers: tuple[int, ...]
    """Which layers: 0 = embeddings, i = output of block i, the last one after the final norm."""
    poolings: tuple[str, ...] = ("last", "mean")
    surprisals: np.ndarray | None = None
    """float32 [N, 5] in nats; None for an encoder, which gives no next-token probabilities."""
    end_surprisals: np.ndarray | None = None
    """float32 [N] in nats: of the end tokens within `surprisals`, 0 where a response has none."""
    truncated: np.ndarray = field(default_factory=lambda: np.zeros(0, bool))
    """bool [N]: the response itself was too long for the trunk and was cut from the right."""
    prompt_cut: np.ndarray = field(default_factory=lambda: np.zeros(0, bool))
    """bool [N]: the prompt lost tokens so that the response is kept."""
    trunk: str | None = None
    """Fingerprint of the trunk that read them."""
    responses: tuple[Response, ...] | None = None
    """What was read, row by row, with each prompt's messages and meta: rules grade it; or None."""

    def __post_init__(self) -> None:
        for name in ("truncated", "prompt_cut"):
            if not len(getattr(self, name)):
                object.__setattr__(self, name, np.zeros(len(self.keys), bool))
        want = (len(self.keys), len(self.layers), len(self.poolings))
        if self.latents.ndim != 4 or self.latents.shape[:3] != want:
            must = f"latents must have the shape [N, L, P, D] with N, L, P = {want}"
            raise InputError(must, got=str(self.latents.shape))
        if self.surprisals is not None and self.surprisals.shape != (len(self.keys), 5):
            raise InputError("surprisals must be [N, 5]", got=str(self.surprisals.shape))
        if self.responses is not None and len(self.responses) != len(self.keys):
            must = f"there must be a response for each of {len(self.keys)} rows"
            raise InputError(must, got=str(len(self.responses)))

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def width(self) -> int:
        """D: numbers in one pooled latent."""
        return int(self.latents.shape[-1])

    @property
    def logp(self) -> np.ndarray:
        """Return the log-probability of each response under the trunk, float64 [N], in nats."""
        if self.surprisals is None:
            must = "log-probabilities need a causal language model as trunk"
            raise InputError(must, got="an encoder")
        return -self.surprisals[:, 0].astype(np.float64)

    @cached_property
    def _row(self) -> dict[str, int]:
        return {key: i for i, key in enumerate(self.keys)}

    def rows(self, keys: Sequence[str]) -> np.ndarray:
        """Return the row number of each key, int64; a key that was not read is a `DataError`."""
        try:
            return np.array([self._row[key] for key in keys], dtype=np.int64)
        except KeyError as error:
            raise DataError(
                "every response must have been read before it is used",
                got=f"the unread key {error.args[0]}",
            ) from None

    def take(self, rows: Sequence[int] | np.ndarray) -> Readings:
        """Return the given rows, in the given order."""
        return self._part(np.asarray(rows, dtype=np.int64))

    def at(self, layers: Sequence[int]) -> Readings:
        """Return these layers alone, in rising order; each must have been read."""
        if unread := sorted(set(layers) - set(self.layers)):
            do = f"choose from {', '.join(map(str, self.layers))}"
            got = ", ".join(map(str, unread))
            raise InputError("layer must be one that was read", got=got, do=do)
        kept = tuple(layer for layer in self.layers if layer in layers)
        if kept == self.layers:
            return self
        where = [self.layers.index(layer) for layer in kept]
        return replace(self, layers=kept, latents=self.latents[:, where])

    def slices(self, size: int) -> Iterator[Readings]:
        """Yield all rows in order, `size` at a time, without copying the latents."""
        for start in range(0, len(self), size):
            yield self._part(slice(start, start + size))

    def _part(self, at: np.ndarray | slice) -> Readings:
        rows = np.arange(len(self))[at].tolist()
        return replace(
            self,
            keys=tuple(self.keys[i] for i in rows),
            latents=self.latents[at],
            **{name: column[at] for name, column in self._token_columns()},
            truncated=self.truncated[at],
            prompt_cut=self.prompt_cut[at],
            responses=None if self.responses is None else tuple(self.responses[i] for i in rows),
        )

    def _token_columns(self) -> list[tuple[str, Any]]:
        names = ("surprisals", "end_surprisals")
        return [(n, getattr(self, n)) for n in names if getattr(self, n) is not None]

    @classmethod
    def concat(cls, parts: Sequence[Readings]) -> Readings:
        """Join several tables; a response read twice keeps its first row."""
        if not parts:
            raise DataError("there must be at least one table of readings to join", got="none")
        trunks = {part.trunk for part in parts}
        if len(trunks) > 1:
            raise InvalidExperiment(
                "readings to be joined must come from one trunk", got=" and ".join(map(str, trunks))
            )
        forms = {
            (p.layers, p.poolings, p.width, *(name for name, _ in p._token_columns()))
            for p in parts
        }
        if len(forms) > 1:
            must = "readings to be joined must hold the same layers, pools, width and surprisals"
            raise InputError(must, got=" and ".join(map(str, forms)))
        keys = [key for part in parts for key in part.keys]
        _, at = np.unique(keys, return_index=True)
        columns = [dict(p._token_columns()) for p in parts]
        joined: dict[str, Any] = {n: np.concatenate([c[n] for c in columns]) for n in columns[0]}
        responses = [p.responses for p in parts if p.responses is not None]
        all_known = len(responses) == len(parts)
        return replace(
            parts[0],
            keys=tuple(keys),
            latents=np.concatenate([p.latents for p in parts]),
            **joined,
            truncated=np.concatenate([p.truncated for p in parts]),
            prompt_cut=np.concatenate([p.prompt_cut for p in parts]),
            responses=tuple(r for each in responses for r in each) if all_known else None,
        ).take(np.sort(at))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write one safetensors file that `load` reads back equal; of a prompt's meta only what
        JSON can hold."""
        columns = ("latents", "truncated", "prompt_cut", "surprisals", "end_surprisals")
        tensors = {name: getattr(self, name) for name in columns}
        if self.responses is not None:
            tensors["responses"] = np.frombuffer(_to_json(self.responses), np.uint8)
        kept = {n: np.ascontiguousarray(x) for n, x in tensors.items() if x is not None}
        words = {name: getattr(self, name) for name in ("keys", "layers", "poolings", "trunk")}
        save_file(kept, path, metadata={"readings": json.dumps(words)})

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Readings:
        """Load what `save` wrote."""
        with safe_open(path, framework="numpy") as file:
            words = json.loads(file.metadata()["readings"])
            columns: dict[str, Any] = {n: file.get_tensor(n) for n in file.keys()}  # noqa: SIM118
        if "responses" in columns:
            columns["responses"] = _from_json(columns["responses"])
        columns |= {name: tuple(words.pop(name)) for name in ("keys", "layers", "poolings")}
        return cls(**words, **columns)

    def features(self, layer: int, pooling: str = "both") -> np.ndarray:
        """Return float32 [N, F]: the layer's latents ("last", "mean", or "both" side by side), then
        the five surprisal columns where there are any."""
        names = ("last", "mean") if pooling == "both" else (pooling,)
        if not set(names) <= set(self.poolings):
            do = f"choose from {', '.join((*self.poolings, 'both'))}"
            raise InputError("pooling must be one that was read", got=pooling, do=do)
        latents = self.at([layer]).latents[:, 0]
        blocks = [latents[:, self.poolings.index(name)] for name in names]
        if self.surprisals is not None:
            blocks.append(self.surprisals)
        return np.concatenate(blocks, axis=1, dtype=np.float32)


def _to_json(responses: Sequence[Response]) -> bytes:
    rows = []
    for r in responses:
        turns = [[turn.role, turn.content] for turn in r.prompt.messages]
        meta = {name: value for name, value in r.prompt.meta.items() if _is_json(value)}
        rows.append([turns, meta, r.text, r.logp, r.num_tokens])
    return json.dumps(rows).encode()


def _from_json(tensor: np.ndarray) -> tuple[Response, ...]:
    rows = []
    for turns, meta, text, logp, num_tokens in json.loads(tensor.tobytes()):
        prompt = Prompt(messages=tuple(Message(*turn) for turn in turns), meta=meta)
        rows.append(Response(prompt=prompt, text=text, logp=logp, num_tokens=num_tokens))
    return tuple(rows)


def _is_json(value: object) -> bool:
    try:
        json.dumps(value)
    except (TypeError, ValueError):
        return False
    return True
