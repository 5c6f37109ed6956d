"""Finds the ideas in a folder by their files: adding one is adding a file, and nothing else.

An idea is the frozen, keyword-only dataclass named like its file: `best_of_n.py` holds `BestOfN`
(or `DPO` in `dpo.py`: letters count, case and underscores do not). A file without such a class is a
helper, not an idea. Other packages add theirs by entry points of the group `trueline.<folder>`.

>>> "bayesian" in ideas("rewards"), spec_name("best_of_n")
(True, 'bestofn')
"""

from __future__ import annotations

import dataclasses
import importlib
import importlib.metadata
import pkgutil
from types import ModuleType

from trueline.errors import InputError, SetupError

__all__ = ["find", "ideas", "spec_name"]


def ideas(folder: str) -> dict[str, type]:
    """Name to specification class, for trueline/<folder>/ and its entry points, sorted by name."""
    package = importlib.import_module(f"trueline.{folder}")
    found = {}
    for info in pkgutil.iter_modules(package.__path__):
        if not info.ispkg and not info.name.startswith("_"):
            idea = _idea_of(importlib.import_module(f"{package.__name__}.{info.name}"), info.name)
            if idea is not None:
                found[info.name] = idea
    for point in importlib.metadata.entry_points(group=f"trueline.{folder}"):
        if point.name in found:
            raise SetupError(
                f"names in trueline.{folder} must be unique",
                got=f"a second {point.name!r} from {point.value}",
                do="rename or uninstall one of the two",
            )
        found[point.name] = _checked(point.load(), point.name)
    return dict(sorted(found.items()))


def find(folder: str, name: str) -> type:
    """The idea of that name."""
    known = ideas(folder)
    if name not in known:
        raise InputError(f"{folder} must be one of {', '.join(known)}", got=repr(name))
    return known[name]


def spec_name(file: str) -> str:
    """What an idea's class name is compared with: the file's name without its underscores."""
    return file.replace("_", "").lower()


def _idea_of(module: ModuleType, file: str) -> type | None:
    own = [
        value
        for name, value in vars(module).items()
        if isinstance(value, type)
        and value.__module__ == module.__name__
        and name.lower() == spec_name(file)
    ]
    return _checked(own[0], file) if own else None


def _checked(idea: object, name: str) -> type:
    if not isinstance(idea, type) or not _is_specification(idea):
        raise SetupError(
            "an idea must be a frozen, keyword-only dataclass", got=f"{idea} for {name}"
        )
    return idea


def _is_specification(idea: type) -> bool:
    if not dataclasses.is_dataclass(idea):
        return False
    frozen: bool = idea.__dataclass_params__.frozen  # type: ignore[attr-defined]
    return frozen and all(field.kw_only for field in dataclasses.fields(idea) if field.init)
