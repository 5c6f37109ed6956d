"""Rules on the text alone: a pattern, a JSON schema, a length.

                            0                                         unscored
    Regex                   a pattern missing, a forbidden one there  a pattern out of time
    JsonSchema              no JSON, or it breaks the schema          as Regex; a far $ref
    MaxSentences, MaxWords  more than n                               never

>>> MaxWords(n=2).score(["?", "?"], ["two words", "now three words"]).mean
array([1., 0.])
"""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from trueline.errors import InputError
from trueline.records import Response
from trueline.rewards.rules import Grade, Rule, needs

__all__ = ["JsonSchema", "MaxSentences", "MaxWords", "Regex", "fenced"]


@dataclass(frozen=True, kw_only=True)
class Regex(Rule):
    """1 if every pattern of `must` is found and none of `never` (syntax of the `regex` package)."""

    must: tuple[str, ...] = ()
    """Patterns that must be found."""
    never: tuple[str, ...] = ()
    """Patterns that must not be found."""
    pattern_s: float = 0.5
    """Seconds for one pattern; who exhausts them is unscored, unless another pattern decides."""

    def __post_init__(self) -> None:
        needs("regex")
        regex = importlib.import_module("regex")
        if not self.must and not self.never:
            raise InputError("there must be a pattern", got="none", do="give must=(…,)")
        for pattern in (*self.must, *self.never):
            try:
                regex.compile(pattern)
            except regex.error as error:
                raise InputError(
                    f"a pattern must be a regular expression: {error}", got=repr(pattern)
                ) from None

    def grade_one(self, response: Response) -> Grade:
        """Return 1.0, 0.0, or which pattern took too long."""
        late = ""
        for pattern, wanted in [(p, True) for p in self.must] + [(p, False) for p in self.never]:
            try:
                if _finds(pattern, response.text, self.pattern_s) is not wanted:
                    return 0.0
            except TimeoutError as error:
                late = late or str(error)
        return late or 1.0


def _finds(pattern: str, text: str, limit_s: float = 0.5) -> bool:
    regex = importlib.import_module("regex")
    try:
        return regex.search(pattern, text, timeout=limit_s) is not None
    except TimeoutError:
        raise TimeoutError(f"the pattern {pattern!r} took over {limit_s:g} s") from None


@dataclass(frozen=True, kw_only=True)
class JsonSchema(Rule):
    """1 if the response's JSON (a fenced block, the whole, or from the first bracket) is valid.

    JSON as RFC 8259 has it: no NaN, no key twice, and not nested too deeply to be checked. Patterns
    in the schema have half a second; a `$ref` to elsewhere is never fetched.
    """

    schema: Mapping[str, Any]
    """A JSON schema (draft 2020-12 unless it names another)."""

    def __post_init__(self) -> None:
        needs("jsonschema")
        needs("regex")
        import jsonschema

        try:
            self._draft().check_schema(self.schema)
        except jsonschema.SchemaError as error:
            raise InputError("schema must be a JSON schema", got=error.message) from None

    def _draft(self) -> Any:
        import jsonschema

        return jsonschema.validators.validator_for(self.schema, jsonschema.Draft202012Validator)

    def grade_one(self, response: Response) -> Grade:
        """Return 1.0, 0.0, or why the schema cannot be applied."""
        import jsonschema
        import referencing

        value = _json_of(response.text)
        if value is None:
            return 0.0
        timed = jsonschema.validators.extend(
            self._draft(), {"pattern": _pattern, "patternProperties": _pattern_properties}
        )
        try:
            validator = timed(self.schema, registry=referencing.Registry())
            return float(validator.is_valid(value[0]))
        except referencing.exceptions.Unresolvable as unresolved:
            return f"the schema refers to what it does not hold: {unresolved.ref}"
        except TimeoutError as late:
            return str(late)
        except RecursionError:
            return 0.0


def _pattern(validator: Any, pattern: str, instance: Any, schema: Any) -> Iterator[Any]:
    """Apply the keyword `pattern` with a time limit, which Python's own matcher lacks."""
    import jsonschema

    if validator.is_type(instance, "string") and not _finds(pattern, instance):
        yield jsonschema.ValidationError(f"{instance!r} does not match {pattern!r}")


def _pattern_properties(validator: Any, patterns: Any, instance: Any, schema: Any) -> Iterator[Any]:
    """Apply the keyword `patternProperties` with a time limit."""
    if validator.is_type(instance, "object"):
        for pattern, inner in patterns.items():
            for key, value in instance.items():
                if _finds(pattern, key):
                    yield from validator.descend(value, inner, path=key, schema_path=pattern)


def _json_of(text: str) -> tuple[Any] | None:
    """Return the JSON value of a response in a tuple, None if it has none."""
    block = fenced(text, "json")
    start = min((at for at in map(text.find, "{[") if at >= 0), default=0)
    for part, to_the_end in ((block, True), (text, True), (text[start:], False)):
        try:
            value, end = _DECODER.raw_decode((part or "").strip())
        except (ValueError, RecursionError):
            continue
        if end == len((part or "").strip()) or not to_the_end:
            return (value,)
    return None


def fenced(text: str, *languages: str) -> str | None:
    """Return the last block between ``` lines of one of these languages, or marked as none."""
    blocks = re.findall(r"^[ ]{0,3}```[ ]*(\w*)[^\n]*\n(.*?)^[ ]{0,3}```", text, re.S | re.M)
    fit = [body for name, body in blocks if name.lower() in (*languages, "")]
    return fit[-1] if fit else None


def _refuse(text: str) -> Any:
    raise ValueError(f"{text} is not JSON")


def _no_key_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    return value if len(value) == len(pairs) else _refuse("a key twice")


_DECODER = json.JSONDecoder(parse_constant=_refuse, object_pairs_hook=_no_key_twice)


@dataclass(frozen=True, kw_only=True)
class MaxWords(Rule):
    """1 if the response has at most n words (runs of characters between blanks), else 0."""

    n: int
    """The most words that are allowed."""

    def __post_init__(self) -> None:
        _at_least_one(self.n)

    def grade_one(self, response: Response) -> Grade:
        """Return 1.0 or 0.0."""
        return float(len(response.text.split()) <= self.n)


_ABBREVIATION = re.compile(r"\b(e\.g|i\.e|etc|vs|cf|al|mr|mrs|ms|dr|prof|st|no|approx)\.", re.I)
_END = re.compile(r"[.!?…][.!?…\"'”’)\]]*\s+|[。！？]|\n")


@dataclass(frozen=True, kw_only=True)
class MaxSentences(Rule):
    """1 if the response has at most n sentences, else 0.

    A sentence ends with . ! ? or … before a blank, unless an abbreviation ends there, and with its
    line: so neither a list nor a poem is one sentence.
    """

    n: int
    """The most sentences that are allowed."""

    def __post_init__(self) -> None:
        _at_least_one(self.n)

    def grade_one(self, response: Response) -> Grade:
        """Return 1.0 or 0.0."""
        # A list's "1. " ends no sentence.
        text = _ABBREVIATION.sub(r"\1", response.text)
        text = re.sub(r"^\s*\d+[.)]\s+", "", text, flags=re.M)
        return float(sum(bool(re.search(r"\w", part)) for part in _END.split(text)) <= self.n)


def _at_least_one(n: int) -> None:
    if n < 1:
        raise InputError("n must be at least 1", got=str(n))
