"""One dictionary for each idea folder: name to kind, this package's and other packages'.

A kind is a frozen, keyword-only dataclass whose fields are its configuration and which has its
folder's verb. Adding one is one file and one line in the folder's `__init__`; other packages add
theirs by entry points of the group `trueline.<folder>`.
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
from collections.abc import Mapping

from trueline.errors import SetupError

__all__ = ["name_of", "register"]


def register(group: str, verb: str, **kinds: type) -> dict[str, type]:
    """Return the dictionary of the idea folder `group`: its own kinds, then those of installed
    packages; `SetupError` if one is no such dataclass, lacks the verb, or takes a name twice.

    >>> @dataclasses.dataclass(frozen=True, kw_only=True)
    ... class Longest:
    ...     def fit(self): ...
    >>> list(register("rewards_of_mine", "fit", longest=Longest))
    ['longest']
    """
    for kind in kinds.values():
        _check(kind, verb)
    for point in importlib.metadata.entry_points(group=f"trueline.{group}"):
        if point.name in kinds:
            raise SetupError(
                f"names in trueline.{group} must be unique",
                got=f"a second {point.name!r} from {point.value}",
                do="rename or uninstall one of the two",
            )
        kinds[point.name] = _check(point.load(), verb)
    return kinds


def name_of(part: object, kinds: Mapping[str, type]) -> str | None:
    """Return the name of a part's kind in its dictionary; None where it has none."""
    return next((name for name, kind in kinds.items() if kind is type(part)), None)


def _check(kind: object, verb: str) -> type:
    dataclass = isinstance(kind, type) and dataclasses.is_dataclass(kind)
    frozen = dataclass and kind.__dataclass_params__.frozen  # type: ignore[attr-defined]
    named = frozen and all(f.kw_only for f in dataclasses.fields(kind) if f.init)  # type: ignore[arg-type]
    if not named or not hasattr(kind, verb):
        raise SetupError(
            f"a kind must be a frozen, keyword-only dataclass that can {verb}", got=str(kind)
        )
    return kind  # type: ignore[return-value]
