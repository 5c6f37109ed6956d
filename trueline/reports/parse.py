"""JSON values as numbers, estimates and lists, where nothing missing can turn into a number.

Null, absent, not finite or of another type all read as None (or empty), never as 0.

>>> estimate({"value": None, "n": 0}).value is None, number(float("nan")) is None
(True, True)
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from trueline.records import Estimate

__all__ = ["MISSING", "counts", "estimate", "items", "mapping", "number", "whole"]

MISSING = Estimate(None, None, None, 0)
"""What was not measured."""


def mapping(raw: Any) -> Mapping[str, Any]:
    return raw if isinstance(raw, Mapping) else {}


def items(raw: Any) -> list[Any]:
    return raw if isinstance(raw, list) else []


def number(raw: Any) -> float | None:
    if isinstance(raw, bool) or not isinstance(raw, int | float) or not math.isfinite(raw):
        return None
    return float(raw)


def whole(raw: Any) -> int | None:
    value = number(raw)
    return None if value is None else int(value)


def estimate(raw: Any) -> Estimate:
    """An `Estimate.as_dict`, or a bare number, which comes without an interval."""
    if not isinstance(raw, Mapping):
        value = number(raw)
        return MISSING if value is None else Estimate(value, None, None, 0)
    value, n = number(raw.get("value")), whole(raw.get("n")) or 0
    if value is None:
        return Estimate(None, None, None, n)
    return Estimate(value, number(raw.get("lower")), number(raw.get("upper")), n)


def counts(raw: Any) -> dict[str, int]:
    pairs = ((str(k), whole(v)) for k, v in mapping(raw).items())
    return {k: v for k, v in pairs if v is not None}
