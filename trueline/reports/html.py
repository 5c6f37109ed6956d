"""One HTML file that tells a run, or several side by side, and needs nothing else to do so.

Plotly's script is inlined once, the figures travel as JSON, and a content security policy admits
only the scripts written here, by their hash: no request leaves the page, and a script that a
model wrote into an answer would not run even if it were not escaped, which it is. The same run
folders always give the same bytes.
"""

from __future__ import annotations

import base64
import hashlib
import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
import plotly.graph_objects as go
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from trueline.atomic import atomic_write
from trueline.errors import SetupError
from trueline.reports import tables, words
from trueline.reports.folder import Run, read_run
from trueline.reports.palette import THEMES
from trueline.reports.panels import PURPOSES
from trueline.reports.remarks import liked_faults, remarks
from trueline.reports.samples import show
from trueline.reports.sections import Section, sections
from trueline.reports.typeset import count, duration, interval, num, percent, plain

__all__ = ["render", "write_report"]

OPEN_SAMPLES = 4
"""Samples shown at once; the others unfold."""


def write_report(runs: Sequence[Path], out: Path) -> Path:
    """The report of `runs` (the first is the main one) at `out`; the path it was written to."""
    read = [read_run(Path(path)) for path in runs]
    if not read:
        raise SetupError("a report needs at least one run folder", got="none")
    target = Path(out)
    if target.is_dir():
        target = target / "report.html"
    atomic_write(target, page(read))
    return target


def page(runs: Sequence[Run]) -> str:
    """The whole page."""
    main, names = runs[0], words.labels(runs)
    story = sections(runs)
    return render(
        "report.html.j2",
        _figures(story),
        title=_title(main),
        about=_about(main),
        main=main,
        several=len(runs) > 1,
        verdict=words.verdict(main),
        beside=[(n, words.verdict(r)) for r, n in zip(runs[1:], names[1:], strict=True)],
        name=names[0],
        remarks=[*remarks(main), *_beside(runs[1:], names[1:])],
        key_figures=_key_figures(main),
        side_by_side=tables.side_by_side(runs) if len(runs) > 1 else None,
        sections=story,
        certificate=_certificate(main),
        samples=[show(s) for s in main.samples],
        open_samples=OPEN_SAMPLES,
        hows=[_how(run, name) for run, name in zip(runs, names, strict=True)],
    )


def render(template: str, figures: Mapping[str, go.Figure], **said: Any) -> str:
    """A page of the house's kind; each figure goes where the template has a place of its id."""
    scripts = (get_plotlyjs(), _environment().get_template("report.js").render())
    plain = {place: json.loads(figure.to_json()) for place, figure in figures.items()}
    return (
        _environment()
        .get_template(template)
        .render(
            **said,
            figures=_embedded(plain),
            themes=_embedded(THEMES),
            scripts=[Markup(script) for script in scripts],
            policy=_policy(scripts),
        )
    )


def _beside(runs: Sequence[Run], names: Sequence[str]) -> list[str]:
    """What the gate cannot see, for the runs shown beside the main one."""
    said = [(name, liked_faults(run)) for run, name in zip(runs, names, strict=True)]
    return [f"Beside it ({name}): {text}" for name, text in said if text is not None]


def _title(run: Run) -> str:
    model = Path(str(run.config.get("model") or "the embedded world")).name
    subject = run.config.get("world") or model
    return f"Learning from comparisons: {subject}"


def _about(run: Run) -> list[tuple[str, str]]:
    """What was run, in a line: model, raters, seed, as far as the configuration says."""
    keys = ("model", "rater", "assist", "optimiser", "seed", "from")
    rows = [(k, plain(run.config[k])) for k in keys if run.config.get(k) is not None]
    return [(k, Path(v).name if k in ("model", "from") else v) for k, v in rows]


def _key_figures(run: Run) -> list[tuple[str, str, str]]:
    """Name, number, and what the number rests on."""
    decided = sum(r.gate.decision is not None for r in run.rounds)
    alpha = words.run_alpha(run)
    last = run.rounds[-1] if run.rounds else None
    figures = []
    if run.gold_base.value is not None or run.gold_final.value is not None:
        n = f", n = {count(run.gold_final.n)}" if run.gold_final.n else ""
        figures.append(
            (
                "Gold, before → after",
                f"{num(run.gold_base.value)} → {num(run.gold_final.value)}",
                f"{interval(run.gold_final)}{n}" if interval(run.gold_final) else "",
            )
        )
    else:
        figures.append(("Gold", "not measured", "nobody knows the true worth of these answers"))
    if run.gain_share.value is not None:
        share = run.gain_share
        oracle = f"oracle reaches {num(run.gold_oracle.value)}"
        figures.append(
            (
                "Of the oracle's gain",
                percent(share.value),
                " · ".join(filter(None, (interval(share, share=True), oracle))),
            )
        )
    elif last is not None and last.gate.win_rate.value is not None:
        rate = last.gate.win_rate
        figures.append(("Win rate, last round", percent(rate.value), interval(rate, share=True)))
    spent = f"at an error risk of {num(alpha)} in all" if alpha is not None else ""
    figures.append(("Rounds certified", f"{run.accepted} of {decided}", spent))
    parts = ", ".join(f"{count(v)} {PURPOSES.get(k, k)}" for k, v in run.labels.items())
    figures.append(("Labels", count(run.labels_used), parts))
    if run.judge_s:
        helped = sum(run.helped.values()) - run.helped.get("direct", 0)
        by = f"{percent(helped / sum(run.helped.values()))} with help" if run.helped else ""
        figures.append(("Time of judging", duration(sum(run.judge_s.values())), by))
    if last is not None:
        figures.append(("KL at the end", f"{num(last.kl.value)}", "nats per answer"))
    if run.wall_s is not None:
        figures.append(("Time", duration(run.wall_s), ""))
    return figures


def _certificate(run: Run) -> dict[str, Any]:
    """What the gate's certificate promises in this run, and what it is silent about."""
    alpha = words.run_alpha(run)
    chance = "1 − alpha" if alpha is None else percent(1 - alpha)
    tested = run.config.get("certificate")
    return {"chance": chance, "held": alpha is not None, "tested": tested}


def _how(run: Run, name: str) -> dict[str, Any]:
    """Configuration, environment and the commands that resume or repeat a run."""
    return {
        "name": name,
        "path": str(run.path),
        "config": tables.facts(run.config),
        "environment": tables.facts(run.environment),
        "repeat": _command(run, "runs/again"),
        "resume": None if run.finished else _command(run, str(run.path)),
        "reward": tables.facts(run.rounds[-1].reward) if run.rounds else [],
    }


def _command(run: Run, out: str) -> str:
    """The command line that the configuration came from; given the same folder it resumes."""
    options = [
        f"--{name.replace('_', '-')} {shlex.quote(str(value))}"
        for name, value in run.asked.items()
        if name not in ("verb", "trunk")
        and isinstance(value, str | int | float)
        and not isinstance(value, bool)
    ]
    parts = ["trueline", str(run.asked.get("verb", "run")), *options, f"--out {shlex.quote(out)}"]
    return " ".join(parts)


def _figures(story: Sequence[Section]) -> dict[str, go.Figure]:
    """All figures, under the ids that the template gives their places."""
    return {
        f"{section.key}-{i}": panel.figure
        for section in story
        for i, panel in enumerate(section.panels)
        if panel.figure is not None
    }


def _embedded(value: Mapping[str, Any]) -> Markup:
    """JSON that can stand inside a script element whatever its strings hold."""
    text = json.dumps(value, ensure_ascii=True, separators=(",", ":"), sort_keys=True)
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)


def _policy(scripts: Sequence[str]) -> str:
    digests = (hashlib.sha256(script.encode("utf-8")).digest() for script in scripts)
    allowed = " ".join(f"'sha256-{base64.b64encode(d).decode('ascii')}'" for d in digests)
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; "
        "img-src data: blob:; base-uri 'none'; form-action 'none'"
    )


def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.PackageLoader("trueline.reports"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
