"""What a careful reader of a run would want pointed out, each remark with its numbers."""

from __future__ import annotations

from trueline.reports.folder import Round, Run
from trueline.reports.typeset import estimate, num, percent
from trueline.reports.words import Change, change

__all__ = ["liked_faults", "remarks"]

_FAULTS = ("flattery", "unfounded_claim", "sure_wrong", "malformed")


def remarks(run: Run) -> list[str]:
    """Up to six things that a careful reader would want pointed out, each with its numbers."""
    if not run.rounds:
        return []
    first, last = run.rounds[0], run.rounds[-1]
    found = [
        liked_faults(run),
        _on_agreement(last),
        _on_divergence(run, first, last),
        *_on_certified_falls(run),
        _on_cut(last),
        _on_held_fall(run, last),
        *_on_breakdown(first, last),
        _on_reward(last),
        _on_novelty(first, last),
        _on_length(first, last),
    ]
    return [text for text in found if text is not None][:6]


def liked_faults(run: Run) -> str | None:
    """Faults that grew by a fifth of the answers or more under a certificate: what the gate cannot
    see, because it asks the very raters who like them. Certified answers against the base's."""
    held = next((r for r in run.rounds if r.index == run.certified_round), None)
    if held is None:
        return None
    grown = [
        f"{name.replace('_', ' ')} from {percent(was.value)} to {percent(now.value)}"
        for name in _FAULTS
        if (was := run.breakdown_base.get(name)) and (now := held.breakdown.get(name))
        if was.value is not None and now.value is not None and now.value - was.value >= 0.2
    ]
    if not grown:
        return None
    return (
        f"Faults grew and were certified: {', '.join(grown)} of the answers. The raters like them, "
        "and the gate asks these raters: it cannot see this."
    )


def _on_agreement(last: Round) -> str | None:
    e = last.agreement
    if e.value is None:
        return None
    shares = estimate(e, share=True)
    text = f"The raters' labels agreed with gold in {shares} of the last round's comparisons"
    if e.upper is not None and e.upper < 0.5:
        return f"{text}: worse than a coin. No reward fitted on them can be right."
    if e.lower is not None and e.lower <= 0.5:
        return f"{text}: no better than a coin, as far as can be told."
    return f"{text}."


def _on_divergence(run: Run, first: Round, last: Round) -> str | None:
    if run.accepted == 0 and first is last:
        return None
    if change(run.gold_base, last.gold) is not Change.FELL:
        return None
    if change(first.proxy, last.proxy) is Change.ROSE:
        return (
            f"The reward rose from {num(first.proxy.value)} to {num(last.proxy.value)} while gold "
            "fell: the policy has learned what the reward likes, not what is good."
        )
    return None


def _on_certified_falls(run: Run) -> list[str]:
    before = (run.gold_base, *(r.gold for r in run.rounds))
    falls = [
        str(r.index)
        for was, r in zip(before, run.rounds, strict=False)
        if r.gate.decision == "accept" and change(was, r.gold) is Change.FELL
    ]
    if not falls or len(falls) == len(run.rounds):
        return []
    which = f"Round{'s' * (len(falls) > 1)} {', '.join(falls)}"
    return [f"{which} passed the gate although gold fell there: the raters judged otherwise."]


def _on_held_fall(run: Run, last: Round) -> str | None:
    if last.gate.decision == "accept" or change(run.gold_final, last.gold) is not Change.FELL:
        return None
    return (
        f"The last candidate is measurably worse than the certified policy (gold "
        f"{estimate(last.gold)}), and the gate did not let it pass."
    )


def _on_breakdown(first: Round, last: Round) -> list[str]:
    """The kinds of answer whose share moved most, the largest two."""
    moves = [
        (name, was.value, now.value)
        for name, now in last.breakdown.items()
        if (was := first.breakdown.get(name)) and was.value is not None and now.value is not None
    ]
    moves = [m for m in sorted(moves, key=lambda m: -abs(m[2] - m[1])) if abs(m[2] - m[1]) >= 0.1]
    return [
        f"Answers of the kind “{name.replace('_', ' ')}” went from {percent(was)} in round "
        f"{first.index} to {percent(now)} in round {last.index}."
        for name, was, now in moves[:2]
    ]


def _on_reward(last: Round) -> str | None:
    if last.accuracy.value is None:
        return None
    text = (
        "On comparisons it had not learned from, the last reward sided with the rater in "
        f"{estimate(last.accuracy, share=True)}"
    )
    if last.ece.value is not None:
        points = num(100 * last.ece.value, 0)
        text += f"; its stated confidence was off by {points} percentage points on average"
    return text + "."


def _on_novelty(first: Round, last: Round) -> str | None:
    was, now = first.novelty.value, last.novelty.value
    if was is None or now is None or now < 1.25 * was:
        return None
    return (
        f"The answers drift away from the reward's data: novelty went from {num(was)} to "
        f"{num(now)} (1 is typical of that data)."
    )


def _on_cut(last: Round) -> str | None:
    if not last.cut:
        return None
    return (
        f"{last.cut} of the last {last.length.n} measured answers were cut before their end; such "
        "answers are not learned from. More tokens (--max-new-tokens) would let them end."
    )


def _on_length(first: Round, last: Round) -> str | None:
    was, now = first.length.value, last.length.value
    if was is None or now is None or not was or 0.8 < now / was < 1.25:
        return None
    verb = "longer" if now > was else "shorter"
    return f"Answers grew {verb}: {num(was, 0)} tokens in round {first.index}, {num(now, 0)} now."
