"""Hold what one frozen pass over N responses yields: pooled latents and token surprisals.

    latents[n, l, p]  = pool_p(h_l(prompt_n, response_n))            [N, L, P, D]
    surprisals[n]     = (sum, mean, largest, second largest, length) of -log p(token) [N, 5]

The sum of the surprisals is minus the reference log-probability, so the KL term of an optimiser
costs nothing besides. Pools: "last" (the response's last token), "mean" (over its tokens).

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

__all__ = ["SURPRISAL_COLUMNS", "HasResponses", "Readings"]

SURPRISAL_COLUMNS = ("sum", "mean", "largest", "second_largest", "length")


class HasResponses(Protocol):
    """Anything with unique responses, such as `Comparisons`."""

    @property
    def responses(self) -> Sequence[Response]: ...


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
    truncated: np.ndarray = field(default_factory=lambda: np.zeros(0, bool))
    """bool [N]: the response itself was too long for the trunk and was cut from the right."""
    trunk: str | None = None
    """Fingerprint of the trunk that read them."""
    responses: tuple[Response, ...] | None = None
    """What was read, row by row, with each prompt's messages and meta: rules grade it. None where
    it is not known, as in files written before it was kept."""

    def __post_init__(self) -> None:
        if not len(self.truncated) and len(self.keys):
            object.__setattr__(self, "truncated", np.zeros(len(self.keys), bool))
        want = (len(self.keys), len(self.layers), len(self.poolings))
        if self.latents.ndim != 4 or self.latents.shape[:3] != want:
            raise InputError(
                f"latents must have the shape [N, L, P, D] with N, L, P = {want}",
                got=str(self.latents.shape),
            )
        if self.surprisals is not None and self.surprisals.shape != (len(self.keys), 5):
            raise InputError("surprisals must be [N, 5]", got=str(self.surprisals.shape))
        if self.responses is not None and len(self.responses) != len(self.keys):
            raise InputError(
                f"there must be a response for each of {len(self.keys)} rows",
                got=str(len(self.responses)),
            )

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
            raise InputError(
                "log-probabilities need a causal language model as trunk",
                got="an encoder",
                do="use a trunk that loads with AutoModelForCausalLM",
            )
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
                do="read all responses of the comparisons with trunk.read(...)",
            ) from None

    def take(self, rows: Sequence[int] | np.ndarray) -> Readings:
        """Return the given rows, in the given order."""
        return self._part(np.asarray(rows, dtype=np.int64))

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
            surprisals=None if self.surprisals is None else self.surprisals[at],
            truncated=self.truncated[at],
            responses=None if self.responses is None else tuple(self.responses[i] for i in rows),
        )

    @classmethod
    def concat(cls, parts: Sequence[Readings]) -> Readings:
        """Join several tables; a response read twice keeps its first row."""
        if not parts:
            raise DataError("there must be at least one table of readings to join", got="none")
        first = parts[0]
        for part in parts[1:]:
            _must_match(first, part)
        seen: dict[str, int] = {}
        keys = [key for part in parts for key in part.keys]
        at = [i for i, key in enumerate(keys) if seen.setdefault(key, i) == i]
        surprisals = [p.surprisals for p in parts if p.surprisals is not None]
        responses = [p.responses for p in parts if p.responses is not None]
        all_known = len(responses) == len(parts)
        joined = cls(
            keys=tuple(f"{i}" for i in range(len(keys))),
            latents=np.concatenate([p.latents for p in parts]),
            layers=first.layers,
            poolings=first.poolings,
            surprisals=np.concatenate(surprisals) if surprisals else None,
            truncated=np.concatenate([p.truncated for p in parts]),
            trunk=first.trunk,
            responses=tuple(r for each in responses for r in each) if all_known else None,
        ).take(at)
        object.__setattr__(joined, "keys", tuple(keys[i] for i in at))
        return joined

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write one safetensors file that `load` reads back equal; of a prompt's meta only what
        JSON can hold."""
        tensors = {"latents": self.latents, "truncated": self.truncated}
        if self.surprisals is not None:
            tensors["surprisals"] = self.surprisals
        if self.responses is not None:
            tensors["responses"] = np.frombuffer(_to_json(self.responses), np.uint8)
        words = {
            "keys": self.keys,
            "layers": self.layers,
            "poolings": self.poolings,
            "trunk": self.trunk,
        }
        kept = {name: np.ascontiguousarray(value) for name, value in tensors.items()}
        save_file(kept, path, metadata={"readings": json.dumps(words)})

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Readings:
        """Load what `save` wrote."""
        with safe_open(path, framework="numpy") as file:
            words = json.loads(file.metadata()["readings"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        return cls(
            keys=tuple(words["keys"]),
            latents=tensors["latents"],
            layers=tuple(words["layers"]),
            poolings=tuple(words["poolings"]),
            surprisals=tensors.get("surprisals"),
            truncated=tensors["truncated"],
            trunk=words["trunk"],
            responses=_from_json(tensors["responses"]) if "responses" in tensors else None,
        )

    def features(self, layer: int, pooling: str = "both") -> np.ndarray:
        """Return float32 [N, F]: the layer's latents ("last", "mean", or "both" side by side), then
        the five surprisal columns where there are any."""
        if layer not in self.layers:
            raise InputError(
                "layer must be one that was read",
                got=str(layer),
                do=f"choose from {', '.join(map(str, self.layers))}",
            )
        names = ("last", "mean") if pooling == "both" else (pooling,)
        unknown = [name for name in names if name not in self.poolings]
        if unknown:
            raise InputError(
                "pooling must be one that was read",
                got=pooling,
                do=f"choose from {', '.join((*self.poolings, 'both'))}",
            )
        at = self.layers.index(layer)
        blocks = [self.latents[:, at, self.poolings.index(name)] for name in names]
        if self.surprisals is not None:
            blocks.append(self.surprisals)
        return np.concatenate(blocks, axis=1, dtype=np.float32)


def _to_json(responses: Sequence[Response]) -> bytes:
    """Return the responses as JSON, each distinct prompt once."""
    numbers: dict[int, int] = {}
    prompts: list[Any] = []
    rows: list[Any] = []
    for response in responses:
        prompt = response.prompt
        if id(prompt) not in numbers:
            numbers[id(prompt)] = len(prompts)
            turns = [[turn.role, turn.content] for turn in prompt.messages]
            prompts.append([turns, {k: v for k, v in prompt.meta.items() if _is_json(v)}])
        rows.append([numbers[id(prompt)], response.text, response.logp, response.num_tokens])
    return json.dumps({"prompts": prompts, "responses": rows}).encode()


def _from_json(tensor: np.ndarray) -> tuple[Response, ...]:
    """Return what `_to_json` wrote."""
    stored = json.loads(tensor.tobytes())
    prompts = [
        Prompt(messages=tuple(Message(*turn) for turn in turns), meta=meta)
        for turns, meta in stored["prompts"]
    ]
    return tuple(
        Response(prompt=prompts[i], text=text, logp=logp, num_tokens=num_tokens)
        for i, text, logp, num_tokens in stored["responses"]
    )


def _is_json(value: object) -> bool:
    try:
        json.dumps(value)
    except (TypeError, ValueError):
        return False
    return True


def _must_match(a: Readings, b: Readings) -> None:
    if a.trunk != b.trunk:
        raise InvalidExperiment(
            "readings to be joined must come from one trunk",
            got=f"{a.trunk} and {b.trunk}",
            do="read all responses with the same trunk",
        )
    same = (
        a.layers == b.layers
        and a.poolings == b.poolings
        and a.width == b.width
        and (a.surprisals is None) == (b.surprisals is None)
    )
    if not same:
        raise InputError(
            "readings to be joined must hold the same layers, pools and width",
            got=f"{a.layers} {a.poolings} {a.width} and {b.layers} {b.poolings} {b.width}",
        )
