"""Rules on the text alone: a pattern, a JSON schema, a length.

                            0                                         unscored
    Regex                   a pattern missing, a forbidden one there  a pattern out of time
    JsonSchema              no JSON, or it breaks the schema          as Regex; a far $ref
    MaxSentences, MaxWords  more than n                               never

A pattern has half a second for a text (the `regex` package; Python's own has no limit).
"""

from __future__ import annotations

import json
import re
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from trueline.errors import InputError
from trueline.raters.rule_and_reward import compiled, finds, named_rule
from trueline.records import Response
from trueline.rewards.rules import Grade, Rule, needs

__all__ = ["JsonSchema", "MaxSentences", "MaxWords", "NamedRule", "Regex", "fenced"]


@dataclass(frozen=True, kw_only=True)
class Regex(Rule, kind="regex"):
    """1 if every pattern of `must` is found and none of `never` (syntax of the `regex` package)."""

    must: tuple[str, ...] = ()
    """Patterns that must be found."""
    never: tuple[str, ...] = ()
    """Patterns that must not be found."""

    def __post_init__(self) -> None:
        if not [compiled(pattern) for pattern in (*self.must, *self.never)]:
            raise InputError("there must be a pattern", got="none", do="give must=(…,)")

    def grade_one(self, response: Response) -> Grade:
        late = ""
        for pattern, wanted in [(p, True) for p in self.must] + [(p, False) for p in self.never]:
            try:
                if finds(pattern, response.text) is not wanted:
                    return 0.0
            except TimeoutError as error:
                late = late or str(error)
        return late or 1.0


@dataclass(frozen=True, kw_only=True)
class NamedRule(Rule, kind="rule"):
    """The value of a rule by its name: one that ships, a pattern, or a function of yours."""

    short: ClassVar[str] = "name"
    name: str
    """dialogue, joy, refusal, short-sentences, /REGEX/ or MODULE:FUNCTION."""

    def __post_init__(self) -> None:
        named_rule(self.name)

    def grade_one(self, response: Response) -> Grade:
        value = named_rule(self.name)(response.text)
        return f"the rule {self.name} gives no value" if value is None else value


@dataclass(frozen=True, kw_only=True)
class JsonSchema(Rule, kind="json_schema"):
    """1 if the response's JSON (a fenced block, the whole, or from the first bracket) is valid.

    JSON as RFC 8259 has it: no NaN, no key twice. A `$ref` to elsewhere is never fetched.
    """

    schema: Mapping[str, Any]
    """A JSON schema (draft 2020-12 unless it names another)."""

    def __post_init__(self) -> None:
        needs("jsonschema")
        self._validator()

    def _validator(self) -> Any:
        from jsonschema import Draft202012Validator, SchemaError, validators
        from referencing import Registry

        draft = validators.validator_for(self.schema, Draft202012Validator)
        try:
            draft.check_schema(self.schema)
        except SchemaError as error:
            raise InputError("schema must be a JSON schema", got=error.message) from None
        timed = {"pattern": _pattern, "patternProperties": _pattern_properties}
        return validators.extend(draft, timed)(self.schema, registry=Registry())

    def grade(self, responses: Sequence[Response]) -> list[Grade]:
        validator = self._validator()
        return [_valid(validator, _json_of(response.text)) for response in responses]


def _valid(validator: Any, value: tuple[Any] | None) -> Grade:
    from referencing.exceptions import Unresolvable

    try:
        return float(value is not None and validator.is_valid(value[0]))
    except Unresolvable as unresolved:
        return f"the schema refers to what it does not hold: {unresolved.ref}"
    except TimeoutError as late:
        return str(late)
    except RecursionError:
        return 0.0


def _pattern(validator: Any, pattern: str, instance: Any, schema: Any) -> Iterator[Any]:
    import jsonschema

    if validator.is_type(instance, "string") and not finds(pattern, instance):
        yield jsonschema.ValidationError(f"{instance!r} does not match {pattern!r}")


def _pattern_properties(validator: Any, patterns: Any, instance: Any, schema: Any) -> Iterator[Any]:
    if validator.is_type(instance, "object"):
        for pattern, inner in patterns.items():
            for key, value in instance.items():
                if finds(pattern, key):
                    yield from validator.descend(value, inner, path=key, schema_path=pattern)


def _json_of(text: str) -> tuple[Any] | None:
    """Return the JSON value of a response in a tuple, None if it has none."""
    start = min((at for at in map(text.find, "{[") if at >= 0), default=0)
    for part, to_the_end in ((fenced(text, "json"), True), (text, True), (text[start:], False)):
        part = (part or "").strip()
        try:
            value, end = _DECODER.raw_decode(part)
        except (ValueError, RecursionError):
            continue
        if end == len(part) or not to_the_end:
            return (value,)
    return None


def fenced(text: str, *languages: str) -> str | None:
    """Return the last block between ``` lines of one of these languages, or marked as none."""
    blocks = re.findall(r"^[ ]{0,3}```[ ]*+(\w*+)[^\n]*+\n(.*?)^[ ]{0,3}```", text, re.S | re.M)
    fit = [body for name, body in blocks if name.lower() in (*languages, "")]
    return fit[-1] if fit else None


def _refuse(text: str) -> Any:
    raise ValueError(f"{text} is not JSON")


def _no_key_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    return value if len(value) == len(pairs) else _refuse("a key twice")


_DECODER = json.JSONDecoder(parse_constant=_refuse, object_pairs_hook=_no_key_twice)
_ABBREVIATION = re.compile(r"\b(e\.g|i\.e|etc|vs|cf|al|mr|mrs|ms|dr|prof|st|no|approx)\.", re.I)
_END = re.compile(r"[.!?…][.!?…\"'”’)\]]{0,9}\s+|[。！？]|\n")


@dataclass(frozen=True, kw_only=True)
class _AtMost(Rule):
    n: int
    """The most that are allowed."""

    def __post_init__(self) -> None:
        if self.n < 1:
            raise InputError("n must be at least 1", got=str(self.n))

    @abstractmethod
    def count(self, text: str) -> int: ...

    def grade_one(self, response: Response) -> Grade:
        return float(self.count(response.text) <= self.n)


class MaxWords(_AtMost, kind="max_words"):
    """1 if the response has at most n words (runs of characters between blanks), else 0."""

    def count(self, text: str) -> int:
        return len(text.split())


class MaxSentences(_AtMost, kind="max_sentences"):
    """1 if the response has at most n sentences, else 0.

    A sentence ends with . ! ? or … before a blank, unless an abbreviation ends there, and with its
    line: so neither a list nor a poem is one sentence.
    """

    def count(self, text: str) -> int:
        # A list's "1. " ends no sentence.
        text = re.sub(r"^[^\S\n]*\d+[.)]\s+", "", _ABBREVIATION.sub(r"\1", text), flags=re.M)
        return sum(bool(re.search(r"\w", part)) for part in _END.split(text))
