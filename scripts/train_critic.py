"""Trains the critic's adapter on the trunk of worked sums, and measures its card.

    python scripts/train_critic.py train --work WORK     resumable, by rounds
    python scripts/train_critic.py alone --work WORK     online rounds only, from the trunk as it is
    python scripts/train_critic.py export --work WORK    the last round as the shipped adapter
    python scripts/train_critic.py card                  measures what is shipped, writes its card

Rounds of two kinds, each a descent of its own that starts from the adapter of the round before:

    supervised  fresh answers with flaws planted by rule -> the right review of each
    online      K sampled reviews of each planted answer; judges who check one step judge with each;
                the one that moved them furthest toward the sound answer is distilled

Chains of 12 steps are never trained on, nor is any chain of the evaluation splits. Round i draws
from the seed's stream i whenever it runs, so a resumed run is the same run.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from trueline import stats
from trueline.cli.common import set_threads
from trueline.models.adapters import BasePolicy, LoraPolicy
from trueline.models.chat_format import Encoded
from trueline.models.forward import Batch, response_logps
from trueline.models.trunk import Trunk
from trueline.policy.adamw import AdamWSettings
from trueline.records import Case, Critique, Prompt, Response
from trueline.rng import stream
from trueline.worlds.sums import Population, Raters, trunk_path
from trueline.worlds.sums.critic import SumsCritic, model_critic, review_prefix
from trueline.worlds.sums.flaws import SumsFlaws, good_answer
from trueline.worlds.sums.language import END, IDS, parse, render
from trueline.worlds.sums.problems import SPLITS, Problem, Split, draw_from
from trueline.worlds.sums.reviews import review
from trueline.worlds.sums.writers import MIXTURE, Writer, write

ADAPTER = Path(__file__).parents[1] / "trueline" / "worlds" / "sums" / "critic_adapter"
SEED, RANK, BATCH = 2025, 8, 16
LENGTHS = {
    2: 0.01,
    3: 0.02,
    4: 0.03,
    5: 0.03,
    6: 0.05,
    7: 0.12,
    8: 0.08,
    9: 0.18,
    10: 0.24,
    11: 0.24,
}
"""Shares of the chains trained on."""
SUPERVISED = ((4e-3, 4800), (4e-3, 4800))
"""Peak rate and answers of each supervised round."""
ONLINE = ((5e-4, 160), (5e-4, 160))
"""Peak rate and planted cases of each online round."""
ALONE = ((2e-3, 240),) * 3
"""The same for a critic that is never shown a right review, for comparison; it is not shipped."""
NUM_CRITIQUES = 4
CHECKED = ("7 steps", "9 steps", "10 steps", "12 steps")
ROWS = (*(f"{n} steps" for n in range(2, 13)), "larger", "unseen_order", "new_style")
"""What the card measures: chains of the evaluation split by length, and the other shifts."""
SPOILER = SumsFlaws(kinds=("wrong_step", "slipped_step", "wrong_answer"))
JUDGES = Raters(Population(looks=1, slip_share=0.05))


Round = tuple[Callable[..., dict[str, Any]], float, int]


def draw_case(rng: np.random.Generator) -> Case:
    """A sound answer, and a copy with one flaw planted by rule."""
    lengths, shares = zip(*LENGTHS.items(), strict=True)
    while True:
        length = int(rng.choice(lengths, p=shares))
        prompt = Prompt.of(draw_from(Split(lengths=(length,), held_out=False), rng).text)
        sound = good_answer(prompt, rng)
        spoiled = SPOILER.inject(sound, rng=rng)
        if spoiled is not None:
            return Case(first=sound, second=spoiled.response)


def draw_answer(rng: np.random.Generator) -> Response:
    """One in four sound, two with one planted flaw, one by a writer who errs in a quarter of his
    steps."""
    case, kind = draw_case(rng), int(rng.integers(4))
    if kind < 3:
        return case.responses[int(kind > 0)]
    careless = Writer(wrong_step=MIXTURE.wrong_step[1], boastful=bool(rng.random() < 0.5))
    return Response(
        prompt=case.prompt, text=render(write(Problem.read(case.prompt.text), careless, rng))
    )


def draw_review(rng: np.random.Generator) -> Encoded:
    """An answer with its right review; where that needs numbers there are no words for, another."""
    while True:
        answer = draw_answer(rng)
        said = review(Problem.read(answer.prompt.text), parse(answer.text))
        if all(word in IDS for word in said.split()):
            return encoded(answer, said)


def encoded(response: Response, said: str) -> Encoded:
    """Tokens up to the review, the review, and its end."""
    prefix = review_prefix(response)
    ids = [*prefix, *(IDS[word] for word in said.split()), END]
    return Encoded(ids, len(prefix), len(ids))


def learn(policy: LoraPolicy, rows: list[Encoded], rate: float, rng: np.random.Generator) -> float:
    """One pass over the reviews, in place; the mean loss of the last tenth of the steps."""

    def loss(indices: np.ndarray) -> torch.Tensor:
        batch = Batch.of([rows[i] for i in indices], device=policy.trunk.device)
        logps = response_logps(policy.network, batch)
        return -logps.sum(1) / batch.response_mask.sum(1)

    losses = AdamWSettings(learning_rate=rate, epochs=1, batch_size=BATCH).minimise(
        policy, loss, len(rows), rng=rng
    )
    return float(np.mean(losses[-max(1, len(losses) // 10) :]))


def supervised(
    policy: LoraPolicy, rate: float, num: int, rng: np.random.Generator
) -> dict[str, Any]:
    """One round on right reviews."""
    rows = [draw_review(rng) for _ in range(num)]
    return {"kind": "supervised", "reviews": num, "loss": learn(policy, rows, rate, rng)}


def online(policy: LoraPolicy, rate: float, num: int, rng: np.random.Generator) -> dict[str, Any]:
    """One round on those of its own reviews that moved the judges furthest."""
    cases = [draw_case(rng) for _ in range(num)]
    asked = [(case, response) for case in cases for response in case.responses]
    critic = model_critic(policy, rng=rng)
    tries = [critic.critique([r for _, r in asked]) for _ in range(NUM_CRITIQUES)]
    rows, moves = [], []
    for i, (case, response) in enumerate(asked):
        own = [few[i] for few in tries]
        gains = gains_of(case, own, seed=int(rng.integers(2**31)))
        moves.append(gains)
        if max(gains) > min(gains):
            rows.append(encoded(response, own[int(np.argmax(gains))].text))
    return {
        "kind": "online",
        "reviews": len(rows),
        "moved_mean": float(np.mean(moves)),
        "moved_best": float(np.max(moves, axis=1).mean()),
        "loss": learn(policy, rows, rate, rng) if rows else None,
    }


def gains_of(case: Case, critiques: Sequence[Critique], *, seed: int) -> list[float]:
    """Return how far each critique moves the judges' belief toward the sound answer.

        mean_j [ b_j(sound | critique) - b_j(sound | none) ]  -  0.01 * flaws named

    Each of 8 judges decides under the same draws with and without the critique, so that the
    difference is the critique's alone; a flaw named costs something, since a judge who checks one
    step is not moved by false alarms on the others. A review that cannot be read is worse than one
    that moves nobody.
    """

    def beliefs(shown: tuple[Critique, ...]) -> np.ndarray:
        draws = (stream(seed, "judge", j) for j in range(8))
        verdicts = [JUDGES.compare(*case.responses, critiques=shown, rng=r) for r in draws]
        return np.array([verdict.belief for verdict in verdicts])

    before = beliefs(())
    return [
        -0.05
        if critique.flaws is None
        else float(np.mean(beliefs((critique,)) - before)) - 0.01 * len(critique.flaws)
        for critique in critiques
    ]


def both_kinds() -> list[Round]:
    """The rounds of the shipped critic."""
    return [(supervised, *one) for one in SUPERVISED] + [(online, *one) for one in ONLINE]


def train(work: Path, rounds: Sequence[Round]) -> None:
    """Trains, or goes on training, round by round."""
    trunk = Trunk.load(trunk_path())
    for i, (kind, rate, num) in enumerate(rounds):
        folder = work / f"round-{i:02d}"
        if folder.exists():
            continue
        policy = (
            LoraPolicy.load(trunk, work / f"round-{i - 1:02d}")
            if i
            else LoraPolicy.create(trunk, rank=RANK, alpha=2 * RANK, rng=stream(SEED, "adapter"))
        )
        started, cpu = time.monotonic(), time.process_time()
        note = kind(policy, rate, num, stream(SEED, "round", i))
        note |= {
            "round": i,
            "rate": rate,
            "wall_s": round(time.monotonic() - started),
            "cpu_s": round(time.process_time() - cpu),
            "check": found_and_invented(model_critic(policy), 40, CHECKED),
        }
        print(json.dumps(note), flush=True)
        unfinished = work / "unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        policy.save(unfinished)
        (unfinished / "note.json").write_text(json.dumps(note) + "\n")
        os.replace(unfinished, folder)


def export(work: Path, folder: Path) -> None:
    """The adapter of the last round, with the notes of all, and of what online rounds do alone."""
    rounds, alone = (sorted(place.glob("round-*")) for place in (work, work / "alone"))
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(rounds[-1], folder, ignore=shutil.ignore_patterns("note.json"))
    (folder / "adapter_model.safetensors").chmod(0o644)
    config = json.loads((folder / "adapter_config.json").read_text())
    # Where the trunk lay on the machine that trained: trueline.json holds its fingerprint instead.
    config["base_model_name_or_path"] = None
    (folder / "adapter_config.json").write_text(json.dumps(config, indent=2) + "\n")
    notes = {
        name: [json.loads((one / "note.json").read_text()) for one in places]
        for name, places in (("rounds", rounds), ("online_alone", alone))
    }
    (folder / "training.json").write_text(json.dumps({"seed": SEED, **notes}, indent=1) + "\n")


def found_and_invented(critic: SumsCritic, num: int, rows: Sequence[str] = ROWS) -> dict[str, Any]:
    """Per row: how often the planted wrong step is the first flaw named (what a judge with one look
    acts on), and how often a sound answer is accused of one; an unreadable review does both wrong.
    """
    table = {}
    for name in rows:
        rng = stream(SEED, "card", name)
        split = SPLITS[name] if name in SPLITS else Split(lengths=(int(name.split()[0]),))
        spoiler = SumsFlaws(kinds=("wrong_step",))
        prompts = [Prompt.of(draw_from(split, rng).text) for _ in range(num)]
        sound = [good_answer(prompt, rng) for prompt in prompts]
        pairs = [(a, b) for a in sound if (b := spoiler.inject(a, rng=rng)) is not None]
        said = critic.critique([r for a, b in pairs for r in (a, b.response)], rng=rng)
        steps = [
            None if one.flaws is None else [f.step for f in one.flaws if f.kind == "wrong_step"]
            for one in said
        ]
        found = [
            named is not None and named[:1] == [b.flaw.step]
            for named, (_, b) in zip(steps[1::2], pairs, strict=True)
        ]
        accused = [named != [] for named in steps[::2]]
        table[name] = {
            "found": stats.accuracy(np.array(found, float)).as_dict(),
            "accused": stats.accuracy(np.array(accused, float)).as_dict(),
        }
    return table


def measure(folder: Path, num: int) -> dict[str, Any]:
    """The card: what the shipped critic finds and invents, beside the trunk without the adapter."""
    trunk = Trunk.load(trunk_path())
    policy = LoraPolicy.load(trunk, folder)
    weights = (folder / "adapter_model.safetensors").read_bytes()
    training = json.loads((folder / "training.json").read_text())
    return {
        "sha256": hashlib.sha256(weights).hexdigest(),
        "trunk": trunk.verify_frozen(),
        "parameters": sum(p.numel() for p in policy.trainable()),
        "commands": [
            f"python scripts/train_critic.py {act}" for act in ("train", "alone", "export", "card")
        ],
        "lengths_trained": sorted(LENGTHS),
        "training": training,
        "cpu_s": sum(one["cpu_s"] for one in training["rounds"]),
        "prompts_a_row": num,
        "reviews": {
            "before": found_and_invented(model_critic(BasePolicy(trunk)), num),
            "after": found_and_invented(model_critic(policy), num),
        },
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("act", choices=("train", "alone", "export", "card"))
    parser.add_argument("--work", type=Path, default=Path("build/critic"))
    parser.add_argument("--adapter", type=Path, default=ADAPTER)
    parser.add_argument("--prompts", type=int, default=60, help="prompts a row of the card")
    given = parser.parse_args(arguments)
    set_threads(1)
    if given.act == "train":
        train(given.work, both_kinds())
    elif given.act == "alone":
        train(given.work / "alone", [(online, *one) for one in ALONE])
    elif given.act == "export":
        export(given.work, given.adapter)
    else:
        card = measure(given.adapter, given.prompts)
        (given.adapter / "card.json").write_text(json.dumps(card, indent=1) + "\n")


if __name__ == "__main__":
    main()
