"""Finds the ideas in a folder by their files: adding one is adding a file, and nothing else.

An idea is the frozen, keyword-only dataclass that is named like its file and has its folder's verb:
`best_of_n.py` holds `BestOfN`, which can `improve` (letters count, case and underscores do not, so
that `dpo.py` may hold `DPO`). A file without such a class is a helper, not an idea. Other packages
add theirs by entry points of the group `trueline.<folder>`.

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

__all__ = ["VERBS", "find", "ideas", "register", "spec_name"]

VERBS = {"audits": "run", "oversight": "judge", "policy": "improve", "rewards": "fit"}
"""What the ideas of a folder do, each its one thing."""


def ideas(folder: str) -> dict[str, type]:
    """Name to specification class, for trueline/<folder>/ and its entry points, sorted by name."""
    if folder not in VERBS:
        raise InputError(f"ideas lie in one of {', '.join(VERBS)}", got=repr(folder))
    verb = VERBS[folder]
    package = importlib.import_module(f"trueline.{folder}")
    found = {}
    for info in pkgutil.iter_modules(package.__path__):
        if not info.ispkg and not info.name.startswith("_"):
            module = importlib.import_module(f"{package.__name__}.{info.name}")
            idea = _named_like(info.name, module)
            if hasattr(idea, verb):
                found[info.name] = _checked(idea, verb)
    for point in importlib.metadata.entry_points(group=f"trueline.{folder}"):
        if point.name in found:
            raise SetupError(
                f"names in trueline.{folder} must be unique",
                got=f"a second {point.name!r} from {point.value}",
                do="rename or uninstall one of the two",
            )
        found[point.name] = _checked(point.load(), verb)
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


def _named_like(file: str, module: ModuleType) -> type | None:
    for name, value in vars(module).items():
        own = isinstance(value, type) and value.__module__ == module.__name__
        if own and name.lower() == spec_name(file):
            return value  # type: ignore[no-any-return]
    return None


def _checked(idea: object, verb: str) -> type:
    if not isinstance(idea, type) or not hasattr(idea, verb) or not _is_specification(idea):
        raise SetupError(
            f"an idea must be a frozen, keyword-only dataclass that can {verb}", got=str(idea)
        )
    return idea


def _is_specification(idea: type) -> bool:
    if not dataclasses.is_dataclass(idea):
        return False
    frozen: bool = idea.__dataclass_params__.frozen  # type: ignore[attr-defined]
    return frozen and all(field.kw_only for field in dataclasses.fields(idea) if field.init)


def register(group: str, verb: str, **kinds: type) -> dict[str, type]:
    """Return an idea folder's dictionary: its own kinds, then those of installed packages.

    Other packages add theirs by entry points of the group `trueline.<group>`.

    Args:
        group: the folder's name.
        verb: the method that every kind must have.
        kinds: name to frozen, keyword-only dataclass.

    Raises:
        SetupError: a kind is no such dataclass, lacks the verb, or takes a name twice.
    """
    for idea in kinds.values():
        _checked(idea, verb)
    for point in importlib.metadata.entry_points(group=f"trueline.{group}"):
        if point.name in kinds:
            raise SetupError(
                f"names in trueline.{group} must be unique",
                got=f"a second {point.name!r} from {point.value}",
                do="rename or uninstall one of the two",
            )
        kinds[point.name] = _checked(point.load(), verb)
    return kinds
