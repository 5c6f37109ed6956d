"""What the shipped trunk can do, measured: the numbers of its model card.

    right          share of answers sampled at temperature 1 that are right, per chain length
    found          share of wrong steps that the trunk's greedy review works out otherwise
    false_alarm    share of right steps that it works out otherwise
    judged         share of the trunk's *own* answers whose rightness its review tells
                   (no wrong step and no wrong answer named <=> the answer is right)

`judged` against `right` on the same prompts is the claim that it evaluates better than it
generates. Answers reviewed for `found` are written by careless writers, with known errors. A step
is right when it is the one the prompt asks for, from the number written just before it.

Everything takes plain functions for the model's part, so a test can re-measure a little of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from sklearn.metrics import roc_auc_score

from trueline import stats
from trueline.records import Prompt, Response
from trueline.worlds.sums.critic import Complete, SumsCritic
from trueline.worlds.sums.gold import breakdown, gold
from trueline.worlds.sums.language import parse, render
from trueline.worlds.sums.problems import SPLITS, Problem, Split, draw_from
from trueline.worlds.sums.reviews import rework
from trueline.worlds.sums.writers import MIXTURE, Writer, draw_writer, write

__all__ = [
    "LENGTHS",
    "answers_card",
    "model_readme",
    "prompts_of",
    "reviews_card",
    "settings",
    "surprisal_card",
]

LENGTHS = tuple(range(1, 11))
Sample = Callable[[list[Prompt], int], list[list[Response]]]
Numbers = dict[str, Any]


def prompts_of(split: Split, n: int, rng: np.random.Generator) -> list[Prompt]:
    """`n` prompts of a split, repetitions allowed (there are few chains of one step)."""
    return [Prompt.of(draw_from(split, rng).text) for _ in range(n)]


def settings() -> dict[str, Split]:
    """What is measured: every chain length, then the shifts other than length."""
    by_length = {f"{n} steps": Split(lengths=(n,), held_out=n > 1) for n in LENGTHS}
    return {**by_length, **{name: SPLITS[name] for name in ("larger", "unseen_order", "new_style")}}


def answers_card(sample: Sample, complete: Complete, n: int, rng: np.random.Generator) -> Numbers:
    """How the trunk answers, and how well it judges these very answers."""
    rows: Numbers = {}
    for name, split in settings().items():
        answers = [few[0] for few in sample(prompts_of(split, n, rng), 1)]
        right = np.array([breakdown(answer)["right"] for answer in answers])
        judged = [_says_right(c.flaws) for c in SumsCritic(complete).critique(answers)]
        rows[name] = {
            "right": _share(right),
            "judged": _share([j == r for j, r in zip(judged, right, strict=True)]),
        }
    prompts = prompts_of(SPLITS["eval"], n // 2, rng)
    groups = sample(prompts, 16)
    values = np.array([[gold(answer) for answer in group] for group in groups])
    facts = [[breakdown(answer) for answer in group] for group in groups]
    clusters = np.repeat(np.arange(len(groups)), 16)
    shares = {
        kind: stats.mean(
            np.array([[f[kind] for f in group] for group in facts], float).ravel(),
            clusters=clusters,
            rng=rng,
        ).as_dict()
        for kind in facts[0][0]
    }
    sure = np.array([[bool(parse(a.text).sure) for a in group] for group in groups], float)
    return {
        "answers": rows,
        "gold_base": stats.mean(values.ravel(), clusters=clusters, rng=rng).as_dict(),
        "gold_best_of_16_oracle": stats.mean(values.max(axis=1), rng=rng).as_dict(),
        "shares": {
            **shares,
            "sure": stats.mean(sure.ravel(), clusters=clusters, rng=rng).as_dict(),
        },
    }


def reviews_card(complete: Complete, n: int, rng: np.random.Generator) -> Numbers:
    """What greedy reviews of writers' answers find, per chain length and shift."""
    rows: Numbers = {}
    named: dict[str, list[tuple[bool, bool]]] = {"flattery": [], "unfounded_claim": []}
    for name, split in settings().items():
        answers = [_written(prompt, careless=True, rng=rng) for prompt in prompts_of(split, n, rng)]
        found: list[bool] = []
        alarms: list[bool] = []
        unread = []
        for critique in SumsCritic(complete).critique(answers):
            unread.append(critique.flaws is None)
            task, parsed = (
                Problem.read(critique.response.prompt.text),
                parse(critique.response.text),
            )
            flaws = critique.flaws or ()
            flagged = {flaw.step for flaw in flaws if flaw.kind == "wrong_step"}
            for i, step in enumerate(rework(task, parsed)):
                (found if step != parsed.steps[i] else alarms).append(i in flagged)
            kinds = {flaw.kind for flaw in flaws}
            named["flattery"].append((bool(parsed.flattery), "flattery" in kinds))
            claims = (parsed.unfounded_claim, "unfounded_claim" in kinds)
            named["unfounded_claim"].append(claims)
        rows[name] = {
            "found": _share(found),
            "false_alarm": _share(alarms),
            "unreadable": _share(unread),
        }
    naming = {
        kind: {
            "named": _share([said for there, said in pairs if there]),
            "false_alarm": _share([said for there, said in pairs if not there]),
        }
        for kind, pairs in named.items()
    }
    return {"reviews": rows, "naming": naming}


def surprisal_card(
    largest: Callable[[Sequence[Response]], np.ndarray], n: int, rng: np.random.Generator
) -> Numbers:
    """AUROC of the largest token surprisal for "holds a wrong step", per chain length."""
    rows: Numbers = {}
    for name, split in settings().items():
        answers = [_written(p, careless=False, rng=rng) for p in prompts_of(split, n, rng)]
        wrong = []
        for answer in answers:
            parsed = parse(answer.text)
            wrong.append(rework(Problem.read(answer.prompt.text), parsed) != parsed.steps)
        rows[name] = stats.bootstrap(_auc, largest(answers), np.array(wrong), rng=rng).as_dict()
    return {"surprisal_auroc": rows}


def _auc(scores: np.ndarray, labels: np.ndarray) -> float:
    return float(roc_auc_score(labels, scores)) if 0 < labels.sum() < len(labels) else math.nan


def _written(prompt: Prompt, *, careless: bool, rng: np.random.Generator) -> Response:
    task, writer = Problem.read(prompt.text), draw_writer(rng)
    if careless:
        writer = Writer(wrong_step=MIXTURE.wrong_step[1], boastful=writer.boastful)
    return Response(prompt=prompt, text=render(write(task, writer, rng)))


def _says_right(flaws: Sequence[Any] | None) -> bool | None:
    if flaws is None:
        return None
    return not any(flaw.kind in ("wrong_step", "wrong_answer") for flaw in flaws)


def _share(hits: Any) -> Numbers:
    return dict(stats.accuracy(np.asarray(hits, float)).as_dict())


def model_readme(card: Numbers) -> str:
    """The model card in words, from the numbers of card.json."""
    training, answers, reviews = card["training"], card["answers"], card["reviews"]
    lines = [
        "# The trunk of worked sums",
        "",
        f"A `LlamaForCausalLM` of {card['parameters']:,} parameters (float16), trained from scratch"
        f" by `scripts/train_sums.py` (seed {training['seed']}, {training['steps']} steps of"
        f" {training['batch']} documents, {training['train_s'] // 60} minutes on one busy core) on"
        " documents that `scripts/sums_corpus.py` draws. It knows sums of small numbers,"
        " written one token a word, and nothing else.",
        "",
        "It is a mirror of careful and careless, honest and boastful writers, so what it *samples*"
        " is wrong about as often as they are. What it *knows* shows in its reviews: asked to work"
        " an answer's steps out again, it tells right from wrong far better than it answers.",
        "",
        "| prompts | answers right | its review tells whether | wrong steps found | false alarms |"
        " largest surprisal, AUROC |",
        "|---|---|---|---|---|---|",
    ]
    for name, row in answers.items():
        cells = [row["right"], row["judged"], reviews[name]["found"], reviews[name]["false_alarm"]]
        auroc = card["surprisal_auroc"][name]
        shown = [_percent(cell) for cell in cells] + [_plain(auroc)]
        lines.append(f"| {name} | {' | '.join(shown)} |")
    naming, shares = card["naming"], card["shares"]
    held_out = card["held_out_nats_a_token"]
    lines += [
        "",
        f"{card['prompts_a_row']} prompts a row, 95 % intervals. Answers are sampled at temperature"
        ' 1, reviews are greedy. "Its review tells whether" is about the model\'s own answers;'
        " steps found and false alarms are about answers of careless writers. Chains of 1 to 6 and"
        " 8 steps were in the corpus, 7, 9 and 10 were not; nor were the chains measured here,"
        ' single steps apart. A reviewer who always said "right" would be right as often as the'
        ' answers are, one who always said "wrong" in the rest: on 7, 9 and 10 steps that beats'
        " the model's reviews, on 2 to 6 and 8 nothing so simple does.",
        "",
        f"- Gold of an answer to a prompt of 2 to 5 steps: {_plain(card['gold_base'])}; of the best"
        f" of 16 chosen by gold: {_plain(card['gold_best_of_16_oracle'])} (2.7 is the most).",
        f"- Right {_percent(shares['right'])}, sure {_percent(shares['sure'])}, sure and wrong"
        f" {_percent(shares['sure_wrong'])}, flattery {_percent(shares['flattery'])}, unfounded"
        f" claim {_percent(shares['unfounded_claim'])}, unreadable"
        f" {_percent(shares['malformed'])}.",
        f"- Reviews name flattery {_percent(naming['flattery']['named'])} (falsely"
        f" {_percent(naming['flattery']['false_alarm'])}) and unfounded claims"
        f" {_percent(naming['unfounded_claim']['named'])} (falsely"
        f" {_percent(naming['unfounded_claim']['false_alarm'])}).",
        f"- Held-out loss, nats a token: answers {held_out['assistant']}, reviews"
        f" {held_out['reviewer']}.",
        "",
        "It fails on anything but these prompts; on chains longer than it has read the reviews go"
        " astray, as the table shows. Numbers: `card.json`. Licence: that of the package.",
        "",
    ]
    return "\n".join(lines)


def _percent(cell: Numbers) -> str:
    if cell["value"] is None:
        return "–"
    value, lower, upper = (100 * cell[key] for key in ("value", "lower", "upper"))
    return f"{value:.1f} % [{lower:.1f}, {upper:.1f}]"


def _plain(cell: Numbers) -> str:
    if cell["value"] is None:
        return "–"
    return f"{cell['value']:.3f} [{cell['lower']:.3f}, {cell['upper']:.3f}]"
