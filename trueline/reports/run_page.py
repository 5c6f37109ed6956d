"""Write the report of one run, or of several side by side: one HTML file that needs nothing else.

The template holds the prose, this module the charts and what the numbers say in sentences. Every
string is escaped where it is shown, and a content security policy admits no script at all, so that
nothing a model wrote can run. The same run folders always give the same bytes.

Whether two estimates differ is judged by the interval of their difference, from the intervals of
both (Zou & Donner 2008, "Construction of confidence limits about effect measures", Stat. Med. 27,
the MOVER method, for independent estimates; somewhat too wide on the same prompts):

    lower = d - sqrt((b - b_lower)^2 + (a_upper - a)^2),    d = b - a

Where it holds 0, the sentence says that there are too few answers to tell, never that nothing
changed; where an interval is missing, nothing is said to have changed.
"""

from __future__ import annotations

import enum
import math
import re
import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from operator import attrgetter
from pathlib import Path
from typing import Any

import jinja2
from rich.console import Group
from rich.table import Table
from rich.text import Text

from trueline.atomic import atomic_write
from trueline.errors import SetupError
from trueline.records import Estimate
from trueline.reports import formatting
from trueline.reports.charts import Axis, ReportSection, Series, section
from trueline.reports.formatting import NOT_MEASURED, count, estimate, percent
from trueline.reports.run_records import MISSING, RoundRecord, RunRecord, bare, read_run

__all__ = ["Change", "Tone", "change", "headline", "remarks", "render", "round_axis", "run_alpha"]
__all__ += ["summary", "write_report"]

Named = list[tuple[RunRecord, str]]
"""Runs with the names that tell them apart."""
BASE = bare(0.0)
"""Where the base policy stands: no KL from itself, no reward above its own."""
DECISIONS = {"accept": "certified", "roll_back": "rolled back", None: "no gate"}
DECISIONS |= {"hold": "held (too few labels to tell)"}
OVER_ROUNDS: tuple[tuple[str, str, str, bool, tuple[str, float] | None], ...] = (
    ("gate", "Win rate", "gate.win_rate", True, ("even", 0.5)),
    ("reward", "Accuracy", "accuracy", True, ("a coin", 0.5)),
    ("drift", "Uncertainty", "uncertainty", False, None),
    ("drift", "Novelty", "novelty", False, ("typical of the data", 1.0)),
    ("drift", "Length", "length", False, None),
    ("answers", "Raters against gold", "rater_gold_agreement", True, ("a coin", 0.5)),
)
"""Chapter, title, field of the round, whether a share, and level of the simple charts."""

_FAULTS = ("flattery", "unfounded_claim", "sure_wrong", "malformed")


def write_report(runs: Sequence[Path], out: Path | None = None) -> Path:
    """Write the report of `runs`, the first being the main one; return where it was written.

    A folder as `out`, by default the first run's, gets report.html. `SetupError` on what is no run.
    """
    if not runs:
        raise SetupError("a report needs at least one run folder", got="none")
    out = out or runs[0]
    target = out / "report.html" if out.is_dir() else out
    atomic_write(target, _page([read_run(run) for run in runs]))
    return target


def summary(run: Path) -> Group:
    """Return the table that a terminal shows when a run ends, and the headline."""
    record = read_run(run)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("round", "gold", "reward", "KL, nats", "gate", "labels"):
        table.add_column(name, justify="left" if name == "gate" else "right")
    if record.gold_base.value is not None:
        table.add_row("base", estimate(record.gold_base), "", "0", "", "")
    if (start := record.supervised).demonstrations:
        measured = [estimate(e) for e in (start.gold, start.proxy, start.kl)]
        table.add_row(*map(Text, ["taught", *measured, "", ""]))
    for r in record.rounds:
        measured = [estimate(e) for e in (r.gold, r.proxy, r.kl)]
        spent = count(sum(r.labels.values())) if r.labels else NOT_MEASURED
        table.add_row(*map(Text, [str(r.round), *measured, _decision(r), spent]))
    tone, text = headline(record)
    said = [f"{tone.value[0].upper()}{tone.value[1:]}. {text}", *remarks(record)]
    return Group(table, Text(""), *map(Text, said))


def render(template: str, **values: Any) -> str:
    """Render a page of the house's kind, every value escaped, or plain text (.txt.j2)."""
    return _environment().get_template(template).render(**values)


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("trueline.reports"),
        autoescape=lambda name: not str(name).endswith(".txt.j2"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {name: getattr(formatting, name) for name in formatting.__all__[1:]}
    environment.filters["name"] = lambda path: Path(str(path)).name
    environment.filters |= {"decision": _decision, "policy": _policy, "faults": _faults}
    return environment


def _page(runs: Sequence[RunRecord]) -> str:
    each = [(run, name) for run, name in zip(runs, _names(runs), strict=True)]
    return render(
        "run.html.j2",
        main=runs[0],
        each=each,
        headlines=[(name, run, *headline(run), remarks(run)) for run, name in each],
        alpha=run_alpha(runs[0]),
        kinds=list({run.judge for run in runs}),
        chapters=_chapters(each),
        repeat=_command,
    )


def _names(runs: Sequence[RunRecord]) -> list[str]:
    """Return the names of the runs' folders, numbered where two are alike."""
    names = [run.path.name for run in runs]
    alike = len(set(names)) < len(names)
    return [f"{name} ({i})" if alike else name for i, name in enumerate(names, 1)]


def _chapters(each: Named) -> dict[str, list[ReportSection]]:
    main = each[0][0]
    # The best of one answer is no oracle; nor is what does not lie above the base policy.
    best = f"oracle (best of {main.config.get('evaluate.oracle_samples', 'many')})"
    reached, known = main.gold_oracle.value, main.gain_share.value is not None
    level = (best, reached) if known and reached is not None else None
    rounds = round_axis(max((r.round for run, _ in each for r in run.rounds), default=1))
    # Charts of one run each say whose they are where there are several.
    tails = [(run, f": {name}" if len(each) > 1 else "") for run, name in each]
    chapters = {
        "gold": [_path(each, "gold", "gold", level), _path(each, "reward", "proxy", None)],
        "gate": [_gate(run, tail, rounds) for run, tail in tails],
        "reward": [_calibration(run, tail) for run, tail in tails],
        "drift": [],
        "best-of-n": [_best_of_n(run, tail) for run, tail in tails],
        "answers": [_kinds(run, tail, rounds) for run, tail in tails],
    }
    for chapter, title, field, share, line in OVER_ROUNDS:
        read = attrgetter(field)
        series = [_series(run, name, [read(r) for r in run.rounds]) for run, name in each]
        axis, kept = Axis(title.lower(), share=share), _legend(each)
        chapters[chapter].append(section(title, series, rounds, axis, level=line, kept=kept))
    return chapters


def _series(run: RunRecord, name: str, y: Sequence[Estimate]) -> Series:
    """Return a line over the rounds, and over the base policy as round 0 where `y` has it."""
    x = [0, *(r.round for r in run.rounds)][-len(y) :]
    at = None if run.begun and not run.certified_round else run.certified_round
    return Series(name=name, x=x, y=y, ringed=x.index(at) if at in x else None)


def _legend(each: Named) -> str:
    """Name the policy that each run kept."""
    kept = [(f"{name} " * (len(each) > 1), _policy(run, run.certified_round)) for run, name in each]
    return f"kept: {', '.join(map(''.join, kept))}"


def _policy(run: RunRecord, round: int) -> str:
    first = "the policy it began with" if run.begun else "the base policy"
    first = "the policy that demonstrations taught" if run.taught else first
    return f"round {round}" if round else first


def _path(each: Named, name: str, field: str, level: tuple[str, float] | None) -> ReportSection:
    """Chart a number against KL, each round a disc that is filled where the gate certified it."""
    series = [
        replace(
            _series(run, label, [base, *(getattr(r, field) for r in run.rounds)]),
            x=[BASE.value, *(r.kl.value for r in run.rounds)],
            discs=[("0", True)] + [(str(r.round), r.gate.decision == "accept") for r in run.rounds],
        )
        for run, label in each
        if any(getattr(r, field).value is not None for r in run.rounds)
        for base in [run.gold_base if field == "gold" else BASE]
    ]
    x, kept = Axis("KL from the base policy, nats an answer"), _legend(each)
    title = f"{name.capitalize()} against KL"
    return section(title, series, x, Axis(name), level=level, kept=kept)


def _gate(run: RunRecord, tail: str, rounds: Axis) -> ReportSection:
    """Chart the evidence of each round for "better" and for "worse" against the threshold."""
    fields = {"better": "e_value", "worse": "e_value_worse", "threshold": "threshold"}
    gates = [r.gate for r in run.rounds]
    series = [
        _series(run, name, [bare(getattr(gate, field)) for gate in gates])
        for name, field in fields.items()
    ]
    series[1:] = [replace(one, ringed=None) for one in series[1:]]
    title, y = f"Evidence at the gate{tail}", Axis("e-value", log=True)
    return section(title, series, rounds, y, kept=_legend([(run, "")]))


def _calibration(run: RunRecord, tail: str) -> ReportSection:
    """Chart predicted against observed shares of the last round that had fresh comparisons."""
    bins = next((r.calibration.bins for r in run.rounds[::-1] if r.calibration.bins), ())
    title = f"Calibration{tail}"
    series = Series(name=title, x=[b.predicted for b in bins], y=[b.share for b in bins])
    x, y = _share_axis("predicted share"), _share_axis("observed share")
    return section(title, [series], x, y, diagonal=True)


def _best_of_n(run: RunRecord, tail: str) -> ReportSection:
    picks = dict(run.best_of_n)
    sizes = [e.value for e in picks.pop("n", ()) if e.value is not None]
    series = [Series(name=pick, x=sizes, y=gold) for pick, gold in picks.items() if sizes[1:]]
    x, y = Axis("n", log=True, ticks=sizes), Axis("gold of the pick")
    return section(f"Gold of best-of-n{tail}", series, x, y)


def _kinds(run: RunRecord, tail: str, rounds: Axis) -> ReportSection:
    """Chart the shares of answers of each kind over the rounds, the base policy as round 0."""
    shares = [run.breakdown_base, *(r.breakdown for r in run.rounds)]
    series = [
        _series(run, kind.replace("_", " "), [one.get(kind, MISSING) for one in shares])
        for kind in dict.fromkeys(kind for share in shares for kind in share)
    ]
    title, y = f"Kinds of answer{tail}", _share_axis("share of answers")
    return section(title, series, rounds, y, kept=_legend([(run, "")]))


def round_axis(last: int) -> Axis:
    """Return the axis of rounds 0 to `last`, each with its tick where there is room."""
    return Axis("round", ticks=range(last + 1) if last < 13 else ())


def _share_axis(title: str) -> Axis:
    return Axis(title, share=True, limits=(0.0, 1.0))


def _decision(row: RoundRecord) -> str:
    if row.gate.decision == "hold" and row.gate.labels == 0:
        return "not tested"
    return DECISIONS.get(row.gate.decision, str(row.gate.decision))


def _command(run: RunRecord, out: Path | str) -> str:
    """Return the command that repeats the run; given the same folder it goes on."""
    options = {"seed": run.config.get("seed"), "from": run.config.get("from"), "out": out}
    words = [f"--{k} {shlex.quote(str(v))}" for k, v in options.items() if v is not None]
    return " ".join(["trueline run", shlex.quote(str(run.path / "recipe.toml")), *words])


class Change(enum.StrEnum):
    """What became of a number."""

    ROSE = "rose"
    FELL = "fell"
    UNTOLD = "too few answers to tell whether it changed"
    UNKNOWN = "measured without an interval or not at all"


class Tone(enum.StrEnum):
    """The headline in one word; always printed as a word, never by colour alone."""

    BETTER = "better"
    MIXED = "better, and worse in ways the raters like"
    JUDGED = "better by the judgement of whoever was asked"
    WORSE = "worse in ways the raters like"
    UNCLEAR = "certified, with too few answers to tell whether gold changed"
    BASE = "nothing certified"
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
    """Return the run's tone; and which policy was kept, why, and what became of its answers."""
    return _tone(run), _said(run)[0]


def remarks(run: RunRecord) -> list[str]:
    """Return what a careful reader would want pointed out, each with its numbers."""
    return _said(run)[1:]


def _tone(run: RunRecord) -> Tone:
    moved = change(run.gold_base, run.gold_final)
    if not run.finished:
        return Tone.UNFINISHED
    if not run.certified_round:
        return Tone.BASE
    if moved is Change.FELL:
        return Tone.WORSE
    if run.judge == "rule" or not _gold_known(run):
        return Tone.JUDGED
    if moved is Change.ROSE:
        return Tone.MIXED if _faults(run) else Tone.BETTER
    return Tone.WORSE if _faults(run) else Tone.UNCLEAR


def _said(run: RunRecord) -> list[str]:
    """Return the headline and the remarks: paragraphs of a template."""
    known, moved = _gold_known(run), change(run.gold_base, run.gold_final)
    decisions = Counter(map(_decision, run.rounds))
    facts = {"known": known, "moved": moved, "decisions": decisions, "faults": _faults(run)}
    said = render("headline.txt.j2", run=run, **facts).split("\n\n")
    texts = (re.sub(r"[ \n]+(?=[.,;:])", "", text) for text in said if text.strip())
    return [re.sub(r"[ \n]+", " ", text).strip(" ") for text in texts]


def _gold_known(run: RunRecord) -> bool:
    golds = (run.gold_base, run.gold_final, *(r.gold for r in run.rounds))
    return any(gold.value is not None for gold in golds)


def _faults(run: RunRecord) -> list[str]:
    """Name the faults that the kept policy's answers have measurably more often."""
    held = next((r.breakdown for r in run.rounds if r.round == run.certified_round), {})
    return [
        f"{name.replace('_', ' ')} from {percent(was.value)} to {percent(now.value)}"
        for name in _FAULTS
        if (was := run.breakdown_base.get(name)) and (now := held.get(name))
        if change(was, now) is Change.ROSE
    ]


def run_alpha(run: RunRecord) -> float | None:
    """Return the error probability of all gates together, a sum of 1 / threshold; None: no gate."""
    return sum(1 / r.gate.threshold for r in run.rounds if r.gate.threshold) or None
