"""Build frozen dataclasses from the plain values of a TOML file, and turn them back.

    value                                   built as
    {"kind": "bayesian", "layer": 3}        REWARDS["bayesian"](layer=3), where a role is expected
    {"learning_rate": 1e-4}                 the nested dataclass itself, where one is expected
    0.1, "text", [1, 2], …                  what the field's annotation says (pydantic, strict)

A role is a structural type such as `Head`; `Roles` says which dictionary of kinds plays it. Every
error names the key as it stands in the file, what it must be and what it got, and nothing is
loaded before the whole recipe has been built.

>>> from dataclasses import dataclass
>>> @dataclass(frozen=True, kw_only=True)
... class Steps:
...     rate: float = 1e-3
>>> build(Steps, {"rate": 1}, key="policy.steps", roles={})
Steps(rate=1.0)
>>> to_plain(Steps(), roles={})
{'rate': 0.001}
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias, Union, get_args, get_origin, get_type_hints

from pydantic import TypeAdapter, ValidationError

from trueline.errors import InputError
from trueline.registry import name_of

__all__ = ["Roles", "build", "build_kind", "kinds_of", "to_plain"]

Roles: TypeAlias = Mapping[Any, Mapping[str, type]]
"""Structural type to the dictionary of kinds that play it."""


def build_kind(
    kinds: Mapping[str, type], value: Any, *, key: str, roles: Roles, default: Any = None
) -> Any:
    """Return the dataclass that `value["kind"]` names, its other keys as fields.

    Args:
        kinds: name to frozen dataclass.
        value: a table with the key `kind`, or the bare name of a kind; without one, a table of
            changes to `default`.
        key: where the value stands in the recipe, for errors.
        roles: what may nest inside.
        default: what the table changes, if it is of the same kind.

    Raises:
        InputError: an unknown kind or key, or a value of the wrong type.
    """
    table = {"kind": value} if isinstance(value, str) else value
    if isinstance(table, Mapping) and "kind" not in table and default is not None:
        table = {"kind": name_of(default, kinds), **table}
    if not isinstance(table, Mapping) or "kind" not in table:
        raise InputError(
            f"{key} must be a table with a kind, one of {', '.join(kinds)}", got=_shown(value)
        )
    kind = table["kind"]
    if kind not in kinds:
        raise InputError(
            f"{key}.kind must be one of {', '.join(kinds)}",
            got=_shown(kind),
            do=_closest(str(kind), kinds),
        )
    fields = {name: part for name, part in table.items() if name != "kind"}
    return build(kinds[kind], fields, key=key, roles=roles, default=default)


def build(cls: type, value: Any, *, key: str, roles: Roles, default: Any = None) -> Any:
    """Return the dataclass `cls` with the table `value` as its fields; errors as `build_kind`.

    A field that the table leaves out is that of `default`, where that is a `cls`: so the learning
    rate of an optimiser can be changed, and its epochs stay what they were.
    """
    if not isinstance(value, Mapping):
        raise InputError(f"{key} must be a table", got=_shown(value))
    fields = {field.name: field for field in dataclasses.fields(cls) if field.init}
    for name in value:
        if name not in fields:
            raise InputError(
                f"{key} must have no keys but {', '.join(fields)}",
                got=repr(name),
                do=_closest(name, fields),
            )
    defaults = {name: _default(field) for name, field in fields.items()}
    if type(default) is cls:
        defaults = {name: getattr(default, name) for name in fields}
    for name, standard in defaults.items():
        if standard is dataclasses.MISSING and name not in value:
            raise InputError(f"{key}.{name} must be given", got="nothing")
    hints = get_type_hints(cls)
    built = {
        name: _value(hints[name], part, key=f"{key}.{name}", roles=roles, default=defaults[name])
        for name, part in value.items()
    }
    try:
        return cls(**{**defaults, **built})
    except InputError as error:
        raise InputError(f"{key}: {error.must}", got=error.got, do=error.do) from None


def to_plain(value: Any, *, roles: Roles) -> Any:
    """Return the plain value that builds `value` again; a field that is None is left out."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {
            field.name: to_plain(getattr(value, field.name), roles=roles)
            for field in dataclasses.fields(value)
            if field.init and getattr(value, field.name) is not None
        }
        names = (name_of(value, kinds) for kinds in roles.values())
        kind = next((name for name in names if name is not None), None)
        return fields if kind is None else {"kind": kind, **fields}
    if isinstance(value, Mapping):
        return {str(name): to_plain(part, roles=roles) for name, part in value.items()}
    if isinstance(value, tuple | list):
        return [to_plain(part, roles=roles) for part in value]
    return str(value) if isinstance(value, Path) else value


def kinds_of(hint: Any, roles: Roles) -> Mapping[str, type] | None:
    """Return the kinds that may play an annotation; None where it is no role."""
    for role, kinds in roles.items():
        if hint is role or (isinstance(hint, type) and hint in kinds.values()):
            return kinds
    return None


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default


def _value(hint: Any, value: Any, *, key: str, roles: Roles, default: Any = None) -> Any:
    """One field's value, as its annotation says."""
    kinds = kinds_of(hint, roles)
    if kinds is not None:
        return build_kind(kinds, value, key=key, roles=roles, default=default)
    if dataclasses.is_dataclass(hint):
        return build(hint, value, key=key, roles=roles, default=default)  # type: ignore[arg-type]
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        nested = [part for part in arguments if _nests(part, roles)]
        if nested:
            return _value(nested[0], value, key=key, roles=roles, default=default)
    elif origin in (tuple, list) and arguments and _nests(arguments[0], roles):
        if not isinstance(value, list):
            raise InputError(f"{key} must be a list", got=_shown(value))
        parts = [
            _value(arguments[0], part, key=f"{key}[{i}]", roles=roles)
            for i, part in enumerate(value)
        ]
        return tuple(parts)
    elif len(arguments) == 2 and _nests(arguments[1], roles):
        if not isinstance(value, Mapping):
            raise InputError(f"{key} must be a table", got=_shown(value))
        return {
            name: _value(arguments[1], part, key=f"{key}.{name}", roles=roles)
            for name, part in value.items()
        }
    return _leaf(hint, value, key=key)


def _nests(hint: Any, roles: Roles) -> bool:
    return kinds_of(hint, roles) is not None or dataclasses.is_dataclass(hint)


def _leaf(hint: Any, value: Any, *, key: str) -> Any:
    # Through JSON, where a list is a tuple and a string a path, and still "3" is no number.
    text = json.dumps(value, default=str)
    try:
        return TypeAdapter(hint).validate_json(text, strict=True)
    except ValidationError as error:
        must = error.errors()[0]["msg"].removeprefix("Input should be ")
        raise InputError(f"{key} must be {must}", got=_shown(value)) from None


def _closest(name: str, known: Mapping[str, Any]) -> str | None:
    close = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {close[0]!r}?" if close else None


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
