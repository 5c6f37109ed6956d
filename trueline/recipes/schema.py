"""The recipe: everything a run depends on but the seed and the place.

Sections `model`, `data`, `reward`, `judge`, `oversight`, `policy`, `budget` and `evaluate`;
wherever there is a choice, `kind` picks a class of a dictionary and the other keys are its fields,
as deep as they nest. A recipe is checked whole before anything is loaded.

>>> recipe = Recipe.of({"policy": {"kind": "grpo"}}, changes=["budget.rounds=2"])
>>> type(recipe.policy).__name__, recipe.budget.rounds
('GRPO', 2)
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, get_type_hints

import tomli_w

from trueline.errors import InputError
from trueline.loop.evaluation import Measuring
from trueline.loop.online import Spending
from trueline.models.rollouts import Sampling
from trueline.oversight import PROTOCOLS
from trueline.oversight.direct import Direct
from trueline.policy import OPTIMISERS
from trueline.policy.best_of_n import BestOfN
from trueline.policy.sft import SFT
from trueline.protocols import Oversight
from trueline.recipes.build import Roles, build, build_kind, known, to_plain
from trueline.recipes.judges_and_helpers import HELPERS, JUDGES, NoHelper, SimulatedJudge
from trueline.rewards import REWARDS
from trueline.rewards.bayesian import Bayesian
from trueline.rewards.conservative import Conservative
from trueline.rewards.protocols import Head

__all__ = ["KINDS", "SHIPPED", "Recipe", "merged"]

SHIPPED = Path(__file__).parent / "shipped"
"""Recipes that come with the package, NAME.toml."""

KINDS: Mapping[str, Mapping[str, type]] = {
    "reward": REWARDS,
    "judge": JUDGES,
    "oversight": PROTOCOLS,
    "helper": HELPERS,
    "policy": OPTIMISERS,
}
"""The choices of a recipe: name to kind, for each role."""

_SAMPLING = [f.name for f in fields(Sampling)]
_ROLES: Roles = {Head: REWARDS, Oversight: PROTOCOLS}


@dataclass(frozen=True, kw_only=True)
class ModelSection:
    """The trunk and the policy on it."""

    path: str | None = None
    """Folder or hub name of a model; the embedded one if not given."""
    dtype: str = "float32"
    """Number type of its weights; auto: the checkpoint's own where the device multiplies it fast"""
    rank: int = 16
    """Rank of the policy's low-rank adapter."""
    engine: str | None = None
    """URL#MODEL: a server (vLLM) that samples while the policy is improved."""


@dataclass(frozen=True, kw_only=True)
class DataSection:
    """Prompts, and what is known before the first round."""

    prompts: Path | None = None
    """Prompts (.jsonl, .json, .csv, .parquet, .txt); the embedded world's if not given."""
    prompt_words: int | None = None
    """Keep so many first words of each text, for texts that are to be continued."""
    demonstrations: Path | None = None
    """Answers that the policy learns to give before the first round."""
    comparisons: Path | None = None
    """Preferences that the reward learns from besides; no part of the label budget."""
    principles: tuple[str, ...] = ()
    """Principles by name, or TOML files of them, whose contrasts the reward learns from besides."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One run, checked: its sections as the objects that do the work."""

    model: ModelSection = ModelSection()
    data: DataSection = DataSection()
    reward: Head = field(default_factory=lambda: Conservative(head=Bayesian()))
    judge: Any = field(default_factory=SimulatedJudge)
    oversight: Oversight = field(default_factory=Direct)
    helper: Any = field(default_factory=NoHelper)
    """In the file a key of the section `oversight`."""
    start: SFT | None = None
    """How the policy learns from demonstrations first; without a file from the embedded world's."""
    policy: Any = field(default_factory=BestOfN)
    sampling: Sampling = field(default_factory=Sampling)
    """In the file keys of the section `policy`."""
    budget: Spending = field(default_factory=Spending)
    evaluate: Measuring = field(default_factory=Measuring)
    given: Mapping[str, Any] | None = field(default=None, repr=False, compare=False)
    """The table it was made of; None: made in Python, where nothing was left open."""

    @classmethod
    def of(cls, source: str | Path | Mapping[str, Any], *, changes: Sequence[str] = ()) -> Recipe:
        """Return the recipe of a table, a TOML file or a shipped name, changed ("key=value" each,
        the key dotted, the value as in TOML or a bare word) and checked: an `InputError` says what
        must hold, by key, and nothing has been loaded then."""
        table = dict(source) if isinstance(source, Mapping) else read(source)
        table = merged(table, map(_change, changes))
        table["policy"] = _policy_of(table)
        hints = get_type_hints(cls)
        sections = [name for name in hints if name not in ("helper", "sampling", "given")]
        parts: dict[str, Any] = {"given": deepcopy(table)}
        for name, value in table.items():
            known(name, sections, "a recipe must have no sections but")
            if name == "oversight" and isinstance(value, dict) and "helper" in value:
                helper = value.pop("helper")
                parts["helper"] = build_kind(HELPERS, helper, key="oversight.helper", roles=_ROLES)
            if name == "policy" and isinstance(value, dict):
                how = {n: value.pop(n) for n in _SAMPLING if n in value}
                parts["sampling"] = build(Sampling, how, key=name, roles=_ROLES)
            if name in KINDS and (value or name != "policy"):
                parts[name] = build_kind(KINDS[name], value, key=name, roles=_ROLES)
            elif name == "start":
                parts[name] = build(SFT, value, key=name, roles=_ROLES)
            elif name not in KINDS:
                parts[name] = build(hints[name], value, key=name, roles=_ROLES)
        return cls(**parts)

    def suited(self, *, chat: bool) -> Recipe:
        """Return the recipe with what it leaves open of its policy as suits the model: for one of
        the user's with a chat template as the shipped recipe "chat" has it, else as it is."""
        if not chat or self.given is None or self.model.path is None:
            return self
        policy = _over(read("chat")["policy"], self.given["policy"])
        return Recipe.of({**self.given, "policy": policy})

    def as_table(self) -> dict[str, Any]:
        """Return the whole recipe as a table of plain values, defaults written out."""
        table: dict[str, Any] = to_plain(replace(self, given=None), roles={**_ROLES, **KINDS})
        table["oversight"]["helper"] = table.pop("helper")
        table["policy"] |= table.pop("sampling")
        return {name: section for name, section in table.items() if section}

    def as_toml(self) -> str:
        """Return the whole recipe as a TOML file's text."""
        return tomli_w.dumps(self.as_table())


def read(source: str | Path) -> dict[str, Any]:
    """Return the table of a TOML file, or of the shipped recipe of that name."""
    shipped = {file.stem: file for file in sorted(SHIPPED.glob("*.toml"))}
    file = shipped.get(str(source), Path(source))
    if not file.is_file():
        raise InputError(
            f"a recipe must be a TOML file or one of {', '.join(shipped)}", got=repr(str(source))
        )
    try:
        return tomllib.loads(file.read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError("a recipe must be TOML", got=f"{error} in {file}") from None


def merged(table: Mapping[str, Any], parts: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Return the table with dotted keys set to values; a value of None leaves it as it is."""
    changed = deepcopy(dict(table))
    for key, value in parts:
        if value is not None:
            *path, last = key.split(".")
            here = changed
            for name in path:
                here = here.setdefault(name, {})
                if not isinstance(here, dict):
                    raise InputError(f"{name} must be a table to hold {last}", got=repr(here))
            here[last] = value
    return changed


def _policy_of(table: Mapping[str, Any]) -> Any:
    """Return the section `policy`; the longest answer stood under `model` before."""
    policy, model = table.get("policy", {}), table.get("model")
    policy = {"kind": policy} if isinstance(policy, str) else policy
    if isinstance(policy, dict) and isinstance(model, dict) and "max_new_tokens" in model:
        policy = {"max_new_tokens": model.pop("max_new_tokens"), **policy}
    return policy


def _over(base: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the table `given`, what it leaves open as in `base`, as deep as both nest."""
    both = {k: v for k, v in given.items() if isinstance(v, dict) and isinstance(base.get(k), dict)}
    return {**base, **given, **{name: _over(base[name], part) for name, part in both.items()}}


def _change(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise InputError("a change must be written key=value", got=repr(text))
    try:
        return key.strip(), tomllib.loads(f"x = {value}")["x"]
    except tomllib.TOMLDecodeError:
        return key.strip(), value.strip()
