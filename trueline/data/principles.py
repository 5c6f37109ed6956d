"""Read principles: what is wanted in words, and answers that keep it beside answers that break it.

    [harmless]
    says = "Do not help anybody to hurt another person."
    good = ["I'm sorry, but I can't help with that.", ...]      to each question of an example
    bad = ["Sure, here is how: ...", ...]                       that has none of its own
    [[harmless.examples]]
    questions = ["How do I steal a car?", ...]

A principle's contrasts are comparisons by the rater `principle:NAME`, one for each question and
place in the longer list: what a concept's direction is made of (`rewards.concept`), after Zou et
al. 2023 (arXiv 2310.01405), who call it reading. Written by hand, no human label is needed.

>>> [principle] = load_principles("harmless")
>>> len(principle.contrasts), principle.contrasts[0].rater
(40, 'principle:harmless')
"""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

from annotated_types import Len
from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as checked

from trueline.data.comparisons import Comparisons
from trueline.errors import DataError, InputError
from trueline.records import Comparison, Prompt, Response

__all__ = ["Principle", "contrasts_of", "load_principles", "principle_of", "rater_of"]

SHIPPED = Path(__file__).with_name("principles.toml")
_Texts = Annotated[tuple[str, ...], Len(1)]
_STRICT = ConfigDict(extra="forbid")


@checked(frozen=True, kw_only=True, config=_STRICT)
class _Example:
    questions: _Texts
    good: _Texts | None = None
    bad: _Texts | None = None


@checked(frozen=True, kw_only=True, config=_STRICT)
class _Section:
    says: str
    examples: Annotated[tuple[_Example, ...], Len(1)]
    good: _Texts | None = None
    bad: _Texts | None = None


@dataclass(frozen=True, kw_only=True)
class Principle:
    """One principle."""

    name: str
    says: str
    """What is wanted, as one would say it to a model."""
    examples: tuple[tuple[str, tuple[str, ...], tuple[str, ...]], ...]
    """A question, answers that keep the principle, and answers that break it."""

    @cached_property
    def contrasts(self) -> Comparisons:
        """What keeps it preferred to what breaks it, in the order of the file."""
        pairs = []
        for question, good, bad in self.examples:
            prompt = Prompt.of(question)
            for i in range(max(len(good), len(bad))):
                sides = (good[i % len(good)], bad[i % len(bad)])
                chosen, rejected = (Response(prompt=prompt, text=text) for text in sides)
                pair = Comparison(chosen=chosen, rejected=rejected, rater=rater_of(self.name))
                pairs.append(pair)
        return Comparisons(tuple(pairs))


def rater_of(name: str) -> str:
    """Return the rater of a principle's contrasts."""
    return f"principle:{name}"


def principle_of(rater: str) -> str | None:
    """Return whose contrasts are by this rater; None where somebody judged."""
    mark = rater_of("")
    return rater.removeprefix(mark) if rater.startswith(mark) else None


def contrasts_of(sources: Sequence[str | Path]) -> Comparisons:
    """Return the contrasts of the principles of several sources, as `load_principles` takes them;
    `InputError` where two have one name."""
    found = [principle for source in sources for principle in load_principles(source)]
    names = [principle.name for principle in found]
    if len(set(names)) < len(names):
        raise InputError("principles must have different names", got=", ".join(names))
    return Comparisons(tuple(pair for each in found for pair in each.contrasts))


def load_principles(source: str | Path) -> tuple[Principle, ...]:
    """Return the principles of a TOML file, all or one of them ("FILE#NAME"), or the shipped one of
    that name; `InputError` where there is none, `DataError` where the file is no such file."""
    shipped = _read(SHIPPED)
    if str(source) in shipped:
        return (shipped[str(source)],)
    place, _, name = str(source).partition("#")
    try:
        found = _read(Path(place))
    except OSError as error:
        must = f"principles must be a TOML file or one of {', '.join(shipped)}"
        raise InputError(must, got=f"{str(source)!r:.80} ({error.strerror})") from None
    if name and name not in found:
        raise InputError(f"a principle must be one of {', '.join(found)}", got=repr(name))
    return (found[name],) if name else tuple(found.values())


def _read(file: Path) -> dict[str, Principle]:
    try:
        table: Any = tomllib.loads(file.read_text("utf-8"))
        sections = TypeAdapter(dict[str, _Section]).validate_python(table)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise DataError("principles must be TOML", got=f"{error} in {file}") from None
    except ValidationError as error:
        fault = error.errors()[0]
        key = ".".join(map(str, fault["loc"]))
        raise DataError(f"{file.name}: {key} must be right", got=fault["msg"]) from None
    if not sections:
        raise DataError("a file of principles must hold one", got=f"none in {file}")
    return {name: _principle(name, section) for name, section in sections.items()}


def _principle(name: str, section: _Section) -> Principle:
    examples = []
    for example in section.examples:
        good, bad = example.good or section.good, example.bad or section.bad
        if not good or not bad:
            must = f"{name}: an example must have good and bad answers, or the principle must"
            raise DataError(must, got=f"none for {example.questions[0]!r}")
        examples += [(question, good, bad) for question in example.questions]
    return Principle(name=name, says=section.says, examples=tuple(examples))
