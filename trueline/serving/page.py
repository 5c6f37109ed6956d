"""The page that shows people how the server goes: one HTML text, no script, nothing from outside.

It is rendered anew at every request and asks the browser to come again every five seconds. All that
is shown is escaped.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jinja2

__all__ = ["page"]

_ENDPOINTS = (
    ("/score", "prompts, responses", "mean, std, lower, novelty, interval, outcome of each"),
    ("/openrlhf", "query, prompts, labels", "rewards, scores, extra_logs"),
    ("/classify", "model, input, use_activation", "data[i].probs, as vLLM answers verl"),
    ("/slime", "prompt, response, label", "a number; an object with ?reply=object"),
)

_TEMPLATE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta http-equiv="refresh" content="5">
<meta name="viewport" content="width=device-width">
<title>Trueline reward server</title>
<style>
:root { color-scheme: light dark; --ink: #1c1d20; --muted: #5b5f66; --line: #e4e5e8;
  --paper: #fdfdfc; --card: #fff; --good: #00785a; --bad: #b84300; }
@media (prefers-color-scheme: dark) { :root { --ink: #e8e8e6; --muted: #a4a8b0; --line: #2d3036;
  --paper: #131417; --card: #1a1c20; --good: #2fc49b; --bad: #f0803c; } }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif; }
main { max-width: 54rem; margin: 0 auto; padding: 2.5rem 1.25rem; }
h1 { font-size: 1.6rem; margin: 0 0 .25rem; } h2 { font-size: 1.05rem; margin: 2.25rem 0 .5rem; }
.state { font-weight: 600; } .good { color: var(--good); } .bad { color: var(--bad); }
.muted, th { color: var(--muted); font-weight: 400; }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(9rem, 1fr)); gap: .75rem;
  margin: 1.5rem 0 0; }
.figures div { background: var(--card); border: 1px solid var(--line); border-radius: .5rem;
  padding: .7rem .9rem; }
.figures dt { color: var(--muted); font-size: .85rem; }
.figures dd { margin: 0; font-size: 1.45rem; font-variant-numeric: tabular-nums; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; vertical-align: top; padding: .4rem .75rem .4rem 0;
  border-bottom: 1px solid var(--line); overflow-wrap: anywhere; }
th { width: 11rem; } td.n { text-align: right; font-variant-numeric: tabular-nums; }
code { font: .92em ui-monospace, monospace; }
</style></head><body><main>
<h1>{{ name }}</h1>
<p class="muted" style="margin:0"><span class="state {{ 'good' if h.ready else 'bad' }}">
{{ '● ready' if h.ready else '▲ not ready' }}</span>
· Trueline reward server · up {{ uptime }}{% if h.trouble %} · {{ h.trouble }}{% endif %}</p>
<dl class="figures">
{% for label, value in figures %}<div><dt>{{ label }}</dt><dd>{{ value }}</dd></div>
{% endfor %}</dl>
<h2>What is served</h2>
<table>{% for label, value in facts %}<tr><th scope="row">{{ label }}</th><td>{{ value }}</td></tr>
{% endfor %}</table>
<h2>How to ask</h2>
<table>{% for path, takes, gives in endpoints %}<tr>
<th scope="row"><code>POST {{ path }}</code></th>
<td>{{ takes }} <span class="muted">→ {{ gives }}</span></td></tr>
{% endfor %}</table>
<p class="muted">Also <code>GET /health</code>, <code>/metrics</code> and
<code>/openapi.json</code>. Trainers that take a URL and nothing else give the token as
<code>?token=…</code>.</p>
{% if h.answers %}<h2>Answers so far</h2>
<table>{% for what, n in h.answers.items() %}<tr><th scope="row"><code>{{ what }}</code></th>
<td class="n">{{ '{:,}'.format(n) }}</td></tr>{% endfor %}</table>{% endif %}
</main></body></html>
"""


def page(health: Mapping[str, Any], limits: Any) -> str:
    """The page, from what `/health` says."""
    done = health["scored"] + health["unscored_items"]
    rate = f"{done / health['busy_s']:,.0f} /s" if health["busy_s"] else "–"
    figures = [
        ("items scored", f"{health['scored']:,}"),
        ("unscored", f"{health['unscored_items']:,}"),
        ("waiting", f"{health['queued']:,}"),
        ("items a batch", f"{done / health['batches']:.1f}" if health["batches"] else "–"),
        ("while scoring", rate),
    ]
    number = "the lower bound" if health["use"] == "lower" else "the posterior mean"
    missing = health["unscored"]
    facts = [
        ("model", health.get("model", "–")),
        ("fingerprint", str(health.get("fingerprint", "–"))[:16]),
        *((key, value) for key, value in _flat(health.get("reward", {})) if value is not None),
        ("formats of one number", f"give {number}"),
        (
            "an unscored row there",
            "is refused (422)" if missing == "refuse" else f"counts as {missing}",
        ),
        (
            "limits",
            f"{limits.items:,} items of {limits.chars:,} characters in "
            f"{limits.body_bytes / 2**20:g} MiB a request; {limits.queue:,} items waiting",
        ),
    ]
    return _ENVIRONMENT.from_string(_TEMPLATE).render(
        h=health,
        name=health.get("name", "reward"),
        uptime=_duration(health["uptime_s"]),
        figures=figures,
        facts=facts,
        endpoints=_ENDPOINTS,
    )


def _flat(card: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """A reward's summary as lines of words."""
    return [(key.replace("_", " "), _words(value)) for key, value in card.items()]


def _words(value: Any) -> Any:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_words(one)}" for key, one in value.items()) or None
    if isinstance(value, list | tuple):
        return ", ".join(str(_words(one)) for one in value) or None
    return f"{value:.4g}" if isinstance(value, float) else value


def _duration(seconds: float) -> str:
    minutes, s = divmod(int(seconds), 60)
    hours, m = divmod(minutes, 60)
    return f"{hours} h {m} min" if hours else f"{m} min {s} s" if m else f"{s} s"


_ENVIRONMENT = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
