"""Say what the numbers of a run say, in plain sentences that a newcomer can read first.

Whether two estimates differ is judged by the interval of their difference, from the intervals of
both (Zou & Donner 2008, "Construction of confidence limits about effect measures", Stat. Med. 27,
the MOVER method, for independent estimates):

    lower = d - sqrt((b - b_lower)^2 + (a_upper - a)^2),    d = b - a

It is somewhat too wide where both were measured on the same prompts. Where the interval of the
difference holds 0, the sentence says that there are too few answers to tell, never that nothing
changed; where an interval is missing, nothing is said to have changed.

>>> change(Estimate(0.7, 0.6, 0.8, 300), Estimate(2.4, 2.3, 2.5, 300))
<Change.ROSE: 'rose'>
"""

from __future__ import annotations

import enum
import math

from trueline.records import Estimate
from trueline.reports.formatting import count, estimate, number, percent, plural
from trueline.reports.run_records import RunRecord

__all__ = ["Change", "Tone", "change", "headline", "remarks", "run_alpha"]

_FAULTS = ("flattery", "unfounded_claim", "sure_wrong", "malformed")


class Change(enum.StrEnum):
    """What became of a number."""

    ROSE = "rose"
    FELL = "fell"
    UNTOLD = "too few answers to tell whether it changed"
    UNKNOWN = "measured without an interval or not at all"


class Tone(enum.StrEnum):
    """The headline in one word; always printed as a word, never by colour alone."""

    BETTER = "better"
    JUDGED = "better by the raters' judgement"
    WORSE = "worse"
    UNCLEAR = "undecided"
    UNFINISHED = "unfinished"


def change(before: Estimate, after: Estimate) -> Change:
    """Return whether `after` lies measurably above or below `before`."""
    ends = (before.value, before.lower, before.upper, after.value, after.lower, after.upper)
    if any(end is None for end in ends):
        return Change.UNKNOWN
    a, a_low, a_high, b, b_low, b_high = (float(end) for end in ends if end is not None)
    if b - a > math.hypot(b - b_low, a_high - a):
        return Change.ROSE
    if a - b > math.hypot(a - a_low, b_high - b):
        return Change.FELL
    return Change.UNTOLD


def headline(run: RunRecord) -> tuple[Tone, str]:
    """Return the run in one sentence with its tone."""
    moved = change(run.gold_base, run.gold_final)
    tone = {Change.ROSE: Tone.BETTER, Change.FELL: Tone.WORSE}.get(moved, Tone.UNCLEAR)
    if not _gold_known(run) and run.accepted:
        tone = Tone.JUDGED
    clauses = [_gold_clause(run, moved), _certified_clause(run)]
    if run.labels_used is not None:
        clauses.append(f"{plural(run.labels_used, 'label')} used")
    if run.unspent:
        clauses.append(f"{plural(int(run.unspent), 'label')} unspent")
    sentence = "; ".join(clauses) + "."
    if not run.finished:
        tone = Tone.UNFINISHED
        so_far = f" So far: {sentence[0].lower()}{sentence[1:]}" if run.rounds else ""
        sentence = f"Unfinished, {len(run.rounds)} of {run.planned_rounds} rounds done.{so_far}"
    return tone, sentence


def _gold_known(run: RunRecord) -> bool:
    golds = (run.gold_base, run.gold_final, *(r.gold for r in run.rounds))
    return any(gold.value is not None for gold in golds)


def _gold_clause(run: RunRecord, moved: Change) -> str:
    base, final = run.gold_base, run.gold_final
    if not _gold_known(run):
        return "What the answers are truly worth is not known here"
    if run.certified_round == 0 and run.rounds and final.value is not None:
        return f"The policy it began with stays, with gold {estimate(final)}"
    if moved not in (Change.ROSE, Change.FELL):
        values = f"{number(base.value)} before, {estimate(final)} after"
        return f"Gold, {moved} (n = {count(final.n)}): {values}"
    text = f"Gold {moved} from {number(base.value)} to {estimate(final)}"
    if moved is Change.ROSE and (run.gain_share.value or 0) > 0:
        oracle = f"the oracle ({number(run.gold_oracle.value)})"
        text += f", {percent(run.gain_share.value)} of the way to {oracle}"
    return text


def _certified_clause(run: RunRecord) -> str:
    gates = [r.gate for r in run.rounds if r.gate.decision is not None]
    if not gates:
        return "no gate was held"
    passed = [gate for gate in gates if gate.decision == "accept"]
    verb = "were" if len(passed) > 1 else "was"
    text = f"{len(passed) or 'none'} of {plural(len(gates), 'round')} {verb} certified"
    if not passed or _gold_known(run):
        return text
    rate = estimate(passed[-1].win_rate, share=True)
    return f"{text} by the raters' own judgement (win rate in the last of them {rate})"


def remarks(run: RunRecord) -> list[str]:
    """Return what a careful reader would want pointed out, each with its numbers."""
    return [text for text in (_liked_worse(run), _liked_faults(run)) if text is not None]


def _liked_worse(run: RunRecord) -> str | None:
    """Say that raters liked what gold says is worse."""
    liked = [r for r in run.rounds if (r.gate.win_rate.value or 0) > 0.5]
    if change(run.gold_base, run.gold_final) is not Change.FELL or not liked:
        return None
    rate = estimate(liked[-1].gate.win_rate, share=True)
    return (
        f"In {len(liked)} of {plural(len(run.rounds), 'round')} the raters preferred the new "
        f"answers (in round {liked[-1].round}, {rate} of the gate's comparisons). The gate cannot "
        "see that gold fell, because it asks the same raters."
    )


def _liked_faults(run: RunRecord) -> str | None:
    """Name the faults that grew by a fifth of the answers or more under a certificate."""
    held = next((r.breakdown for r in run.rounds if r.round == run.certified_round), {})
    grown = [
        f"{name.replace('_', ' ')} from {percent(was.value)} to {percent(now.value)}"
        for name in _FAULTS
        if (was := run.breakdown_base.get(name)) and (now := held.get(name))
        if change(was, now) is Change.ROSE and (now.value or 0) - (was.value or 0) >= 0.2
    ]
    if not grown:
        return None
    return (
        f"Faults grew and were certified: {', '.join(grown)} of the answers. The raters like them, "
        "and the gate asks these raters: it cannot see this."
    )


def run_alpha(run: RunRecord) -> float | None:
    """Return the error probability of all gates together, a sum of 1 / threshold; None: no gate."""
    return sum(1 / r.gate.threshold for r in run.rounds if r.gate.threshold) or None
