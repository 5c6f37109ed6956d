"""Build frozen dataclasses from the plain values of a TOML file, and turn them back.

    value                                   built as
    {"kind": "bayesian", "layer": 3}        REWARDS["bayesian"](layer=3), where a role is expected
    {"learning_rate": 1e-4}                 the nested dataclass itself, where one is expected
    0.1, "text", [1, 2], …                  what the field's annotation says (pydantic, strict)

A role is a structural type such as `Head`; `Roles` says which dictionary of kinds plays it. Every
error names the key as it stands in the file, what it must be and what it got, and nothing is
loaded before the whole recipe has been built.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import types
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeAlias, Union, get_args, get_origin, get_type_hints

from pydantic import TypeAdapter, ValidationError

from trueline.errors import InputError
from trueline.registry import name_of

__all__ = ["Roles", "build", "build_kind", "known", "to_plain"]

Roles: TypeAlias = Mapping[Any, Mapping[str, type]]
"""Structural type to the dictionary of kinds that play it."""


def build_kind(
    kinds: Mapping[str, type], value: Any, *, key: str, roles: Roles, default: Any = None
) -> Any:
    """Return the dataclass that `value["kind"]` names, its other keys as fields.

    A bare name will do for a table; a table without `kind` changes `default`. `key` is where the
    value stands in the recipe, for errors: `InputError` for an unknown kind or key, or a value of
    the wrong type.
    """
    table = {"kind": value} if isinstance(value, str) else value
    if isinstance(table, Mapping) and "kind" not in table and default is not None:
        table = {"kind": name_of(default, kinds), **table}
    if not isinstance(table, Mapping) or "kind" not in table:
        must = f"{key} must be a table with a kind, one of {', '.join(kinds)}"
        raise InputError(must, got=_shown(value))
    kind = known(table["kind"], kinds, f"{key}.kind must be one of")
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
        known(name, fields, f"{key} must have no keys but")
    if type(default) is cls:
        start = {name: getattr(default, name) for name in fields}
    else:
        start = {name: _default(field) for name, field in fields.items()}
    for name, standard in start.items():
        if standard is dataclasses.MISSING and name not in value:
            raise InputError(f"{key}.{name} must be given", got="nothing")
    hints = get_type_hints(cls)
    built = {
        name: _value(hints[name], part, key=f"{key}.{name}", roles=roles, default=start[name])
        for name, part in value.items()
    }
    try:
        return cls(**{**start, **built})
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


def known(name: Any, names: Iterable[str], must: str) -> str:
    """Return a name that must be one of `names`; an error lists them and the closest one."""
    names = list(names)
    if name not in names:
        close = difflib.get_close_matches(str(name), names, n=1)
        do = f"did you mean {close[0]!r}?" if close else None
        raise InputError(f"{must} {', '.join(names)}", got=_shown(name), do=do)
    return str(name)


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default


def _value(hint: Any, value: Any, *, key: str, roles: Roles, default: Any = None) -> Any:
    kinds = _kinds_of(hint, roles)
    if kinds is not None:
        return build_kind(kinds, value, key=key, roles=roles, default=default)
    if dataclasses.is_dataclass(hint):
        return build(hint, value, key=key, roles=roles, default=default)  # type: ignore[arg-type]
    inside = [part for part in get_args(hint) if _nests(part, roles)]
    if not inside:
        return _leaf(hint, value, key=key)
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        return _value(inside[0], value, key=key, roles=roles, default=default)
    listed = origin in (tuple, list)
    form: Any = list if listed else Mapping
    if not isinstance(value, form):
        raise InputError(f"{key} must be a {'list' if listed else 'table'}", got=_shown(value))
    built = {
        name: _value(inside[0], part, key=f"{key}.{name}", roles=roles)
        for name, part in (enumerate(value) if listed else value.items())
    }
    return tuple(built.values()) if listed else built


def _kinds_of(hint: Any, roles: Roles) -> Mapping[str, type] | None:
    """The kinds that may play an annotation; None where it is no role."""
    for role, kinds in roles.items():
        if hint is role or (isinstance(hint, type) and hint in kinds.values()):
            return kinds
    return None


def _nests(hint: Any, roles: Roles) -> bool:
    return _kinds_of(hint, roles) is not None or dataclasses.is_dataclass(hint)


def _leaf(hint: Any, value: Any, *, key: str) -> Any:
    # Through JSON, where a list is a tuple and a string a path, and still "3" is no number.
    text = json.dumps(value, default=str)
    try:
        return TypeAdapter(hint).validate_json(text, strict=True)
    except ValidationError as error:
        must = error.errors()[0]["msg"].removeprefix("Input should be ")
        raise InputError(f"{key} must be {must}", got=_shown(value)) from None


def _shown(value: Any) -> str:
    return f"{value!r:.80}"
