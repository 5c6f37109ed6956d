"""What the numbers say, in plain sentences a newcomer can read first.

Whether two estimates differ is judged by the interval of their difference, from the intervals of
both (Zou & Donner 2008, "Construction of confidence limits about effect measures", Stat. Med. 27,
the MOVER method, for independent estimates):

    lower = d - sqrt((b - b_lower)^2 + (a_upper - a)^2),    d = b - a

It is somewhat too wide where both were measured on the same prompts. Where an interval is missing
nothing is said to have changed. Fails to notice changes smaller than the intervals; that is meant.

>>> change(Estimate(0.7, 0.6, 0.8, 300), Estimate(2.4, 2.3, 2.5, 300))
<Change.ROSE: 'rose'>
"""

from __future__ import annotations

import enum
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass

from trueline.records import Estimate
from trueline.reports.folder import Run
from trueline.reports.typeset import duration, estimate, num, percent, plural

__all__ = ["ORACLE", "Change", "Tone", "Verdict", "change", "labels", "run_alpha", "verdict"]

ORACLE = "the oracle best-of-16"


class Change(enum.StrEnum):
    """What became of a number."""

    ROSE = "rose"
    FELL = "fell"
    SAME = "did not change measurably"
    UNKNOWN = "unknown"


class Tone(enum.StrEnum):
    """The verdict in one word; always printed as a word, never by colour alone."""

    BETTER = "better"
    JUDGED = "better by the raters' judgement"
    WORSE = "worse"
    UNCLEAR = "undecided"
    UNFINISHED = "unfinished"


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """One sentence on a run, and where it applies the sentence on what the gate cannot see."""

    tone: Tone
    sentence: str
    blind_spot: str | None = None


def change(before: Estimate, after: Estimate) -> Change:
    """Whether `after` lies measurably above or below `before`."""
    ends = (before.value, before.lower, before.upper, after.value, after.lower, after.upper)
    if any(end is None for end in ends):
        return Change.UNKNOWN
    a, a_low, a_high, b, b_low, b_high = (float(end) for end in ends if end is not None)
    if b - a > math.hypot(b - b_low, a_high - a):
        return Change.ROSE
    if a - b > math.hypot(a - a_low, b_high - b):
        return Change.FELL
    return Change.SAME


def verdict(run: Run) -> Verdict:
    """The run in one sentence, and its tone."""
    moved = change(run.gold_base, run.gold_final)
    tone = {Change.ROSE: Tone.BETTER, Change.FELL: Tone.WORSE}.get(moved, Tone.UNCLEAR)
    golds = (run.gold_base, run.gold_final, *(r.gold for r in run.rounds))
    known = any(gold.value is not None for gold in golds)
    if not known and run.accepted:
        tone = Tone.JUDGED
    clauses = [_gold(run, moved) if known else _judgement(run)]
    clauses += [_certified(run)] if known else []
    clauses += [f"{plural(run.labels_used, 'label')} used"] if run.labels_used is not None else []
    clauses += [_ended(run)] if run.ended_early else []
    sentence = "; ".join(clauses) + "."
    if not run.finished:
        tone = Tone.UNFINISHED
        planned = f" of {run.planned_rounds}" if run.planned_rounds else ""
        so_far = f" So far: {sentence[0].lower()}{sentence[1:]}" if run.rounds else ""
        sentence = f"Unfinished, {len(run.rounds)}{planned} rounds done.{so_far}"
    return Verdict(tone=tone, sentence=sentence, blind_spot=_blind_spot(run, moved))


def _gold(run: Run, moved: Change) -> str:
    base, final = run.gold_base, run.gold_final
    if base.value is None and final.value is None:
        return f"Gold of the last candidate is {estimate(run.rounds[-1].gold)}, of the base unknown"
    if final.value is None:
        return f"Gold of the base policy is {estimate(base)}, of the improved one not measured"
    if base.value is None:
        return f"Gold is {estimate(final)}, that of the base policy not measured"
    if run.certified_round == 0 and run.rounds:
        stays = "policy taken over" if run.config.get("from") else "base policy"
        return f"The {stays} stays, with gold {estimate(final)}"
    if moved in (Change.ROSE, Change.FELL):
        text = f"Gold {moved} from {num(base.value)} to {estimate(final)}"
    elif moved is Change.SAME:
        text = f"Gold {moved}, from {num(base.value)} to {estimate(final)}"
    else:
        text = f"Gold went from {num(base.value)} to {num(final.value)}, without an interval"
    share = run.gain_share.value
    if share is not None and share > 0 and moved is Change.ROSE:
        text += f", {percent(share)} of the way to {ORACLE} ({num(run.gold_oracle.value)})"
    return text


def _judgement(run: Run) -> str:
    rates = [r.gate.win_rate for r in run.rounds if r.gate.decision == "accept"]
    how = f" (win rate in the last of them {estimate(rates[-1], share=True)})" if rates else ""
    total = plural(len(run.rounds), "round")
    return (
        "What the answers are truly worth is not known here; by the raters' own judgement "
        f"the policy was certified as improved in {run.accepted or 'none'} of {total}{how}"
    )


def _certified(run: Run) -> str:
    decided = sum(r.gate.decision is not None for r in run.rounds)
    if not decided:
        return "no gate was held"
    if not run.accepted:
        return f"none of {plural(decided, 'round')} was certified"
    verb = "was" if run.accepted == 1 else "were"
    return f"{run.accepted} of {plural(decided, 'round')} {verb} certified"


def _ended(run: Run) -> str:
    """Why there are fewer rounds than planned."""
    text = (
        f"ended after {len(run.rounds)} of {run.planned_rounds} rounds, none of the last "
        f"{run.config.get('patience')} certified"
    )
    if run.unspent is None:
        return text
    seconds = run.config.get("judge_seconds") is not None
    left = duration(run.unspent) if seconds else plural(int(run.unspent), "label")
    return f"{text}, with {left} unspent"


def _blind_spot(run: Run, moved: Change) -> str | None:
    """Raters liked what gold says is worse: the gate asks the raters, so it cannot see it."""
    rates = [(r.index, r.gate.win_rate) for r in run.rounds if r.gate.win_rate.value is not None]
    liked = [(index, rate) for index, rate in rates if rate.value is not None and rate.value > 0.5]
    if moved is not Change.FELL or not liked:
        return None
    index, rate = liked[-1]
    when = (
        "All the while" if len(liked) == len(rates) else f"In {len(liked)} of {len(rates)} rounds"
    )
    return (
        f"{when} the raters preferred the new answers (in round {index}, "
        f"{estimate(rate, share=True)} of the gate's comparisons). The gate cannot see that gold "
        "fell, because it asks the same raters."
    )


def run_alpha(run: Run) -> float | None:
    """The error probability of the whole run: as configured, or the sum of 1 / threshold."""
    if isinstance(asked := run.config.get("alpha"), float):
        return asked
    spent = [1 / r.gate.threshold for r in run.rounds if r.gate.threshold]
    return sum(spent) if spent else None


def labels(runs: Sequence[Run]) -> list[str]:
    """Names that tell runs apart by their configuration, or else by their folders."""
    if len(runs) == 1:
        return [runs[0].path.name]
    telling = [
        key
        for key in ("assist", "rater", "optimiser", "head", "model", "world", "seed")
        if len({json.dumps(run.config.get(key), sort_keys=True) for run in runs}) > 1
    ]
    names = [", ".join(_telling(key, run.config.get(key)) for key in telling) for run in runs]
    if len(set(names)) < len(names):
        names = [f"{name}, {run.path.name}" for name, run in zip(names, runs, strict=True)]
    if len(set(names)) < len(names):
        names = [f"{name} ({i})" for i, name in enumerate(names, 1)]
    return [name.strip(", ") for name in names]


def _telling(key: str, value: object) -> str:
    if key == "assist" and value is not None:
        return "unassisted raters" if value in (False, "none", "") else "assisted raters"
    return f"{key} {value}" if key in ("rater", "seed", "head") else str(value)
