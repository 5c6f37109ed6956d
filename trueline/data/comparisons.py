"""Preference data: comparisons as one immutable sequence that splits by dialogue.

Splits and folds go by group, and a group is the content hash of a dialogue's first human turn, so
that two branches of one dialogue never stand on both sides.

>>> import numpy as np
>>> train, test = make_folds(["a", "a", "b", "c"], 2, np.random.default_rng(0))[0]
>>> sorted(train.tolist() + test.tolist())
[0, 1, 2, 3]
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, overload

import numpy as np

from trueline.data.files import write_jsonl
from trueline.data.formats import SAVED_MARK, Check, load_rows, pair_up
from trueline.errors import InputError
from trueline.records import Comparison, Prompt, Response
from trueline.rng import Rng

__all__ = ["Comparisons", "group_of", "make_folds"]


@dataclass(frozen=True)
class Comparisons(Sequence[Comparison]):
    """N comparisons, in the order they came."""

    rows: tuple[Comparison, ...]
    skipped: Mapping[str, int] = field(default_factory=dict, compare=False)
    """How many judgements of the source were left out, by reason."""

    @classmethod
    def load(
        cls, path: str | os.PathLike[str], *, strict: bool = False, check: Check = None
    ) -> Comparisons:
        """Return the preferences of a .jsonl[.gz], .json, .csv or .parquet file, at least one.

        The forms are those of `data.formats`. A row that cannot be used, or of which `check`
        refuses an answer (`trunk.codec.check`: the chat template does), is counted in `skipped`;
        raises `DataError` where `strict`, or where no row can be used.
        """
        return cls(*pair_up(load_rows(path, strict=strict, check=check), str(path), strict=strict))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write .jsonl or .jsonl.gz that `load` reads back equal; all or nothing."""
        write_jsonl(path, self._as_saved())

    @cached_property
    def responses(self) -> tuple[Response, ...]:
        """The distinct responses, in order of first appearance."""
        both = (response for row in self.rows for response in (row.chosen, row.rejected))
        return tuple({response.key: response for response in both}.values())

    @cached_property
    def chosen_keys(self) -> tuple[str, ...]:
        """The key of each row's chosen response."""
        return tuple(row.chosen.key for row in self.rows)

    @cached_property
    def rejected_keys(self) -> tuple[str, ...]:
        """The key of each row's rejected response."""
        return tuple(row.rejected.key for row in self.rows)

    @cached_property
    def groups(self) -> tuple[str, ...]:
        """One group a row: what splits, folds and clustered intervals go by."""
        return tuple(group_of(row.prompt) for row in self.rows)

    @cached_property
    def sha256(self) -> str:
        """Hash of the content, order included, for run folders."""
        lines = (json.dumps(row).encode() + b"\n" for row in self._as_saved())
        return hashlib.sha256(b"".join(lines)).hexdigest()

    def take(self, rows: Iterable[int]) -> Comparisons:
        """Return those rows, in that order."""
        return Comparisons(tuple(self.rows[int(row)] for row in rows))

    def split(self, frac: float, rng: Rng) -> tuple[Comparisons, Comparisons]:
        """Return two parts with no group in common, the first of about `frac` of the rows."""
        names, sizes = np.unique(np.asarray(self.groups), return_counts=True)
        if not 0 < frac < 1 or len(names) < 2:
            got = f"frac {frac} of {len(names)} dialogues"
            raise InputError("a split needs 0 < frac < 1 and two dialogues or more", got=got)
        order = rng.permutation(len(names))
        # At least one group on either side, however small the data.
        cut = np.argmin(np.abs(np.cumsum(sizes[order])[:-1] - frac * len(self))) + 1
        first = set(names[order[:cut]].tolist())
        inside = [group in first for group in self.groups]
        rest = [not chosen for chosen in inside]
        return self.take(np.flatnonzero(inside)), self.take(np.flatnonzero(rest))

    def _as_saved(self) -> Iterator[dict[str, Any]]:
        for row in self.rows:
            turns = [{"role": m.role, "content": m.content} for m in row.prompt.messages]
            texts = {"chosen": row.chosen.text, "rejected": row.rejected.text}
            yield {"prompt": turns, **texts, "rater": row.rater, "round": row.round, SAVED_MARK: 1}

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, i: int) -> Comparison: ...
    @overload
    def __getitem__(self, i: slice) -> Comparisons: ...
    def __getitem__(self, i: int | slice) -> Comparison | Comparisons:
        return Comparisons(self.rows[i]) if isinstance(i, slice) else self.rows[i]

    def __iter__(self) -> Iterator[Comparison]:
        return iter(self.rows)


def group_of(prompt: Prompt) -> str:
    """Return the content hash of the first human turn (of the whole prompt where there is none)."""
    first = next((turn for turn in prompt.messages if turn.role == "user"), None)
    return prompt.key if first is None else Prompt.of(first.content.strip()).key


def make_folds(groups: Sequence[str], k: int, rng: Rng) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return K (train rows, test rows): no group in both, each row tested once, sizes even."""
    names, rows, sizes = np.unique(np.asarray(groups), return_inverse=True, return_counts=True)
    if not 2 <= k <= len(names):
        must = "the number of folds must lie between 2 and the number of prompts"
        raise InputError(must, got=f"{k} folds of {len(names)} prompts", do="ask for fewer folds")
    order = rng.permutation(len(names))
    # Largest first into the emptiest fold; the shuffle decides among equals.
    fold_of, load = np.empty(len(names), dtype=int), np.zeros(k, dtype=int)
    for name in order[np.argsort(-sizes[order], kind="stable")]:
        fold_of[name] = np.argmin(load)
        load[fold_of[name]] += sizes[name]
    folds = fold_of[rows]
    return [(np.flatnonzero(folds != i), np.flatnonzero(folds == i)) for i in range(k)]
