"""Rules on the text: the expected answer, a pattern, a JSON schema, a length.

                  0                                             unscored
    Exact         no answer where one is looked for, another    no expected answer; out of time
    Regex         a pattern missing, a forbidden one there      a pattern out of time
    JsonSchema    no JSON, or it breaks the schema              a pattern out of time, a far $ref
    MaxSentences, MaxWords  more than n                         never

>>> ask = Prompt.of("3 × 6?", answer="18")
>>> Exact().score([ask, ask, "?"], ["so \\\\boxed{18.0}", "#### 17", "18"]).mean
array([ 1.,  0., nan])
"""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trueline.errors import InputError
from trueline.records import Response
from trueline.rewards.rules_extract import extractor, fenced, final, number, plain
from trueline.rewards.rules_formulas import equal_formulas, is_formula
from trueline.rewards.rules_grade import Grade, Rule, from_meta, needs

__all__ = ["Exact", "JsonSchema", "MaxSentences", "MaxWords", "Regex"]


@dataclass(frozen=True, kw_only=True)
class Exact(Rule):
    """1 if the answer is the one in the prompt's meta, or one of them if it holds a list.

    Two numbers are compared as exact fractions, formulas by math-verify (sympy), anything else as
    words, without regard to case, spaces and a last full stop.
    """

    expected: str = "answer"
    """Key of the prompt's meta."""
    extract: str = "final"
    """Where the answer stands: final, boxed, whole, last_number, or after:MARKER."""

    def __post_init__(self) -> None:
        extractor(self.extract)

    def grade(self, responses: Sequence[Response]) -> list[Grade]:
        """Return 1.0 or 0.0 for each response; all formulas are compared in one process."""
        grades: list[Grade] = []
        pairs: list[tuple[str, str]] = []
        rows: list[int] = []
        for i, response in enumerate(responses):
            right = from_meta(response.prompt, self.expected)
            answer = extractor(self.extract)(response.text)
            if right is None:
                grades.append(f"the prompt's meta holds no {self.expected!r}")
                continue
            # The expected may be a worked solution itself, as the answers of GSM8K are.
            accepted = [final(str(one)) for one in (right if _is_list(right) else [right])]
            alike = [answer is not None and _same(one, answer) for one in accepted]
            grades.append(float(any(alike)))
            unsure = [one for one, same in zip(accepted, alike, strict=True) if same is None]
            if not any(alike) and answer is not None:
                pairs += [(one, answer) for one in unsure]
                rows += [i] * len(unsure)
        for i, verdict in zip(rows, equal_formulas(pairs), strict=True):
            grades[i] = verdict if grades[i] == 0.0 else grades[i]
        return grades


def _is_list(value: object) -> bool:
    return isinstance(value, list | tuple)


def _same(expected: str, answer: str) -> bool | None:
    """Return whether both are equal as words or numbers; None where formulas must be compared."""
    if _words(expected) == _words(answer):
        return True
    a, b = number(expected), number(answer)
    if a is not None and b is not None:
        return a == b
    return None if is_formula(expected) and is_formula(answer) else False


def _words(text: str) -> str:
    return " ".join(plain(text).casefold().split()).removesuffix(".").strip()


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

    def grade(self, responses: Sequence[Response]) -> list[Grade]:
        """Return 1.0, 0.0, or which pattern took too long."""
        return [self._grade(response.text) for response in responses]

    def _grade(self, text: str) -> Grade:
        late = ""
        for pattern, wanted in [(p, True) for p in self.must] + [(p, False) for p in self.never]:
            try:
                if _finds(pattern, text, self.pattern_s) is not wanted:
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

        kind = jsonschema.validators.validator_for(self.schema, jsonschema.Draft202012Validator)
        try:
            kind.check_schema(self.schema)
        except jsonschema.SchemaError as error:
            raise InputError("schema must be a JSON schema", got=error.message) from None

    def grade(self, responses: Sequence[Response]) -> list[Grade]:
        """Return 1.0, 0.0, or why the schema cannot be applied."""
        return [self._grade(_json_of(response.text)) for response in responses]

    def _grade(self, found: tuple[Any] | None) -> Grade:
        import jsonschema
        import referencing

        if found is None:
            return 0.0
        kind = jsonschema.validators.validator_for(self.schema, jsonschema.Draft202012Validator)
        timed = jsonschema.validators.extend(
            kind, {"pattern": _pattern, "patternProperties": _pattern_properties}
        )
        try:
            validator = timed(self.schema, registry=referencing.Registry())
            return float(validator.is_valid(found[0]))
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

    def grade(self, responses: Sequence[Response]) -> list[Grade]:
        """Return 1.0 or 0.0 for each response."""
        return [float(len(response.text.split()) <= self.n) for response in responses]


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

    def grade(self, responses: Sequence[Response]) -> list[Grade]:
        """Return 1.0 or 0.0 for each response."""
        return [float(_num_sentences(response.text) <= self.n) for response in responses]


_ABBREVIATION = re.compile(r"\b(e\.g|i\.e|etc|vs|cf|al|mr|mrs|ms|dr|prof|st|no|approx)\.", re.I)
_END = re.compile(r"[.!?…][.!?…\"'”’)\]]*\s+|[。！？]|\n")


def _num_sentences(text: str) -> int:
    # A list's "1. " ends no sentence.
    text = re.sub(r"^\s*\d+[.)]\s+", "", _ABBREVIATION.sub(r"\1", text), flags=re.M)
    return sum(bool(re.search(r"\w", part)) for part in _END.split(text))


def _at_least_one(n: int) -> None:
    if n < 1:
        raise InputError("n must be at least 1", got=str(n))
