"""A reward as a folder: `reward.safetensors` with its arrays, `card.json` with everything else.

A dataclass of a class in `STORED` is kept field by field, whatever it is made of: in JSON every
tuple, mapping, array and part stands under its kind, {"kind": content}. Written beside its place
and moved there in one step, so that a killed run leaves no half of it. Another version of the
format is refused, and so is a folder with a part missing. Never pickle.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from trueline.atomic import atomic_folder, to_json
from trueline.errors import InputError, SetupError

__all__ = ["FORMAT", "STORED", "check_place", "read_folder", "stored", "write_folder"]

FORMAT = 6
ARRAYS, CARD = "reward.safetensors", "card.json"
STORED: dict[str, type] = {}
"""Name to dataclass: all that a folder may hold."""


def stored(kind: type) -> type:
    """Let folders hold instances of this dataclass; `InputError` where another has its name."""
    other = STORED.setdefault(kind.__name__, kind)
    if other.__module__ != kind.__module__:
        must = "a stored class must have a name of its own"
        raise InputError(must, got=f"{kind.__name__} of {other.__module__} and {kind.__module__}")
    STORED[kind.__name__] = kind
    return kind


def check_place(place: Path) -> None:
    """Refuse a place where something else than a reward stands; ask before a long fit."""
    if place.is_file() or (
        place.exists() and any(place.iterdir()) and not (place / CARD).is_file()
    ):
        raise SetupError(
            "a reward is only written over a reward, or to a new folder",
            got=f"{place}, which holds something else",
            do="name another folder",
        )


def write_folder(place: Path, reward: Any, **about: str | None) -> None:
    """Write both files, `about` beside the reward in the card; an older reward is replaced."""
    check_place(place)
    arrays: dict[str, np.ndarray] = {}
    card = {"format": FORMAT, **about, "reward": _packed(reward, "reward", arrays)}
    with atomic_folder(place) as fresh:
        save_file(arrays, fresh / ARRAYS)
        (fresh / CARD).write_text(to_json(card), encoding="utf-8")


def read_folder(place: Path) -> Any:
    """Return the reward of a folder; `SetupError` where a file is missing, broken or of another
    version of the format."""
    for name in (CARD, ARRAYS):
        if not (place / name).is_file():
            raise SetupError(f"a reward folder must hold {name}", got=f"none in {place}")
    try:
        card = json.loads((place / CARD).read_text(encoding="utf-8"))
        if card["format"] == FORMAT:
            return _checked(card, load_file(place / ARRAYS))
    except (AttributeError, LookupError, TypeError, ValueError, *_REFUSED) as error:
        raise SetupError(
            "a reward folder must be whole, and of kinds that are installed",
            got=f"{place}: {error}",
            do="fit the reward again",
        ) from None
    raise SetupError(
        f"a reward folder must have format {FORMAT}",
        got=str(card["format"]),
        do="fit the reward again with this version",
    )


_REFUSED = (SafetensorError, InputError, RecursionError)


def _checked(card: dict[str, Any], arrays: dict[str, np.ndarray]) -> Any:
    """Return the reward of a card that says one trunk for it, if its arrays are used once each."""
    value = _unpacked(card.pop("reward"), arrays)
    about = card.keys() - {"format", "trunk", "dtype", "trunk_fingerprint"}
    known = getattr(value, "trunk_fingerprint", None)
    if about or card["trunk_fingerprint"] != known or not isinstance(known, str | None):
        raise ValueError(f"its card says {sorted(about) or 'another trunk than the reward'}")
    if arrays:
        raise ValueError(f"array {min(arrays)} is of no use")
    return value


def _fits(value: Any, kind: Any, name: str) -> bool:
    """Return whether a field's value is of the kind declared, and no number that a reward can
    hold none of: none is NaN or negative; an infinite scale marks a column that says nothing."""
    parts = get_args(kind)
    if get_origin(kind) is tuple:
        kinds = parts[:1] * len(value) if parts[1:] == (...,) else parts
        return type(value) is tuple and all(
            _fits(one, own, name) for one, own in zip(value, kinds, strict=True)
        )
    if get_origin(kind) in (Union, UnionType):
        return any(_fits(value, one, name) for one in parts)
    if kind in (int, float):
        return type(value) in (int, kind) and (0 <= value < 2**63 or value == math.inf)
    if isinstance(value, np.ndarray):
        whole = (value > 0) if name == "scale" else np.isfinite(value)
        full = name != "chol" or (np.diagonal(value) > 0).all()
        return value.dtype.kind == "f" and bool(full and whole.all()) and isinstance(value, kind)
    return kind is Any or isinstance(value, get_origin(kind) or kind)


def _packed(value: Any, name: str, arrays: dict[str, np.ndarray]) -> Any:
    """Return a value as JSON can hold it; its arrays go to `arrays`, under names from `name`."""

    def each(items: Mapping[str, Any]) -> dict[str, Any]:
        return {key: _packed(item, f"{name}.{key}", arrays) for key, item in items.items()}

    kind = type(value).__name__
    if isinstance(value, np.ndarray):
        arrays[name] = np.ascontiguousarray(value)
        return {"array": name}
    if kind in STORED:
        own = (f.name for f in dataclasses.fields(value) if f.init)
        return {kind: each({key: getattr(value, key) for key in own})}
    if isinstance(value, Mapping):
        return {"mapping": each(value)}
    if isinstance(value, list | tuple):
        items = [_packed(item, f"{name}.{i}", arrays) for i, item in enumerate(value)]
        return items if isinstance(value, list) else {"tuple": items}
    if isinstance(value, float) and not math.isfinite(value):
        return {"float": str(value)}
    return value


def _unpacked(value: Any, arrays: dict[str, np.ndarray]) -> Any:
    if isinstance(value, list):
        return [_unpacked(item, arrays) for item in value]
    if not isinstance(value, dict):
        return value
    [(kind, content)] = value.items()
    if kind == "array":
        return arrays.pop(content)
    if kind == "float":
        return float(content)
    if kind == "tuple":
        return tuple(_unpacked(item, arrays) for item in content)
    items = {key: _unpacked(item, arrays) for key, item in content.items()}
    if kind == "mapping":
        return items
    kinds = get_type_hints(STORED[kind])
    odd = items.keys() ^ {f.name for f in dataclasses.fields(STORED[kind]) if f.init}
    if odd := odd or {name for name, item in items.items() if not _fits(item, kinds[name], name)}:
        raise ValueError(f"{kind} must have its own fields, each in its range; got {min(odd)}")
    return STORED[kind](**items)
