"""Gold at equal labels and equal KL: the loop beside TRL's GRPO on its own reward model.

    python -m benchmarks.gold_at_kl                    (about an hour a seed; it can be resumed)

    ours       `trueline run`'s loop with GRPO: labels in rounds, refits, lower bound, limits, gate
    TRL        TRL's GRPO on the reward model that TRL's RewardTrainer makes of the same labels
    TRL, ours  TRL's GRPO on the mean of our reward, fitted once on the same labels

300 labels each, a quarter of them coin flips, by the world's raters helped by critiques; ours pays
its gates from them. The same trunk, adapter, prompts a step and samples a prompt. Gold, and KL from
the trunk in nats a response, are measured on held-out prompts after every round, or every eight
steps, and compared at equal KL: from the KL of the rival's own peak, which gold alone knows, to the
rival's largest; ours stays at its own largest KL where that is less. Between checkpoints both are
interpolated along KL.

All settings were chosen on seed 100: a rival's by its highest gold at any checkpoint, which
flatters it, ours by gold at the end (Gao et al. 2022, arXiv 2210.10760, is the setting).
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import ROOT, Cells, Measured, Options, Row, run
from benchmarks.plot import plot
from trueline import plugs, stats
from trueline.data.comparisons import Comparisons
from trueline.loop.task import Task
from trueline.models.adapters import BasePolicy, LoraPolicy
from trueline.oversight.critique import WithCritique
from trueline.recipes.runs import make_loop, make_task
from trueline.recipes.schema import Recipe
from trueline.recipes.session import Session
from trueline.records import Case, Comparison, Preference, Prompt
from trueline.rewards.bayesian import Bayesian
from trueline.rewards.conservative import Conservative
from trueline.rng import stream
from trueline.runs import RunFolder
from trueline.worlds.sums import POPULATIONS, Raters, Sums, trunk_path

__all__ = ["ARMS", "Climb", "Curve", "ahead", "measure"]

Point = dict[str, Any]
Watch = Callable[[LoraPolicy], None]
BATCH, SAMPLES, ROUNDS, OUR_PROMPTS = 8, 8, 4, 640
OUR_RATE, OUR_BETA, TRL_RATE, REWARD_RATE = 2e-3, 0.2, 1.5e-3, 3e-4


@dataclass(frozen=True, kw_only=True)
class Climb(Options):
    """Options of this benchmark."""

    labels: int = 300
    coin_frac: float = 0.25
    """Share of labels that are coin flips."""
    prompts: int = 320
    """TRL's prompts to improve on; ours has twice as many, and half as many steps on each batch."""
    every: int = 64
    """TRL's prompts between two measurements."""
    measured: int = 200
    """Held-out prompts, two answers each."""
    plot: Path | None = None
    """Draw the mean curves into this SVG file."""


@dataclass(frozen=True)
class Curve:
    """One run's checkpoints, the trunk first: KL [C] and mean gold [C]."""

    kl: np.ndarray
    gold: np.ndarray

    @classmethod
    def of(cls, points: list[Point]) -> Curve:
        """Return the curve of a cell's points."""
        return cls(np.array([p["kl"] for p in points]), np.array([p["gold"] for p in points]))

    def at(self, kl: float) -> float:
        """Return mean gold at a KL between the checkpoints' own; beyond them, at the nearest."""
        order = np.argsort(self.kl, kind="stable")
        return float(np.interp(kl, self.kl[order], self.gold[order]))


def ahead(ours: Curve, rival: Curve) -> list[float]:
    """Return ours less the rival at five KLs from the rival's peak to its largest."""
    start, end = float(rival.kl[rival.gold.argmax()]), float(rival.kl.max())
    kls = start + np.linspace(0, 1, 5) * (end - start)
    return [ours.at(min(kl, float(ours.kl.max()))) - rival.at(kl) for kl in kls]


@dataclass
class Material:
    """One seed's task, labels and measuring, the same for all arms."""

    options: Climb
    seed: int

    @cached_property
    def recipe(self) -> Recipe:
        """The loop's configuration."""
        return Recipe.of(
            "sums",
            changes=[
                "policy.kind=grpo",
                f"policy.num_samples={SAMPLES}",
                f"policy.beta={OUR_BETA}",
                f"policy.adamw.learning_rate={OUR_RATE}",
                f"policy.adamw.batch_size={BATCH}",
                f"budget.rounds={ROUNDS if self.options.measured > 20 else 1}",
                f"budget.labels={self.options.labels}",
                f"budget.prompts_per_round={self.options.prompts * 2 // ROUNDS}",
                "evaluate.prompts=8",
                "evaluate.curve_prompts=1",
                "evaluate.curve_samples=2",
                "evaluate.oracle_samples=1",
            ],
        )

    @cached_property
    def task(self) -> Task:
        """The world's task, its raters more careless than they are by default."""
        task = make_task(self.recipe, Session(seed=self.seed))
        people = replace(POPULATIONS["default"], flip_share=self.options.coin_frac)
        return replace(task, rater=Raters(people))

    def policy(self) -> LoraPolicy:
        """Return the loop's own first policy, which says what the trunk says."""
        rng, how = stream(self.seed, "adapter"), self.task.sampling
        return LoraPolicy.create(self.task.trunk, rng=rng, sampling=how)

    @cached_property
    def pairs(self) -> Comparisons:
        """Verdicts on pairs of the trunk's own answers, for the arms without rounds."""
        task, num = self.task, self.options.labels
        rng = stream(self.seed, "gold_at_kl", "labels")
        policy = BasePolicy(task.trunk, sampling=task.sampling)
        asked = task.draw(num + num // 4, "learn", rng)
        sampled = policy.sample(asked, num_samples=2, rng=rng)
        cases = [Case(first=a, second=b) for a, b in sampled if a.key != b.key][:num]
        rows = []
        for case in cases:
            verdict = WithCritique().judge(
                case, helper=task.helper, judge=task.rater_of(1), rng=rng
            )
            better, worse = case.responses
            if verdict.preference is Preference.SECOND:
                better, worse = worse, better
            if verdict.preference is not Preference.UNDECIDED:
                rows.append(Comparison(chosen=better, rejected=worse, rater=verdict.rater))
        return Comparisons(tuple(rows))

    @cached_property
    def held_out(self) -> list[Prompt]:
        """Prompts of the world's own split for evaluation."""
        rng = stream(self.seed, "gold_at_kl", "measured")
        return Sums().prompts(self.options.measured, rng, "eval")

    def point(self, policy: LoraPolicy) -> Point:
        """Return mean gold and KL from the trunk; each policy answers by the same uniforms."""
        rng = stream(self.seed, "gold_at_kl", "answers")
        rolled = policy.rollouts(self.held_out, num_samples=2, rng=rng)
        own = np.array([logps.sum() for logps in rolled.logps])
        with policy.off():
            trunk = policy.logp(rolled.rows, grad=False).double().numpy()
        assert self.task.gold is not None
        gold = float(np.mean([self.task.gold(answer) for answer in rolled.flat]))
        return {"kl": float((own - trunk).mean()), "gold": gold}


def climb_ours(given: Material, watch: Watch) -> None:
    """Run the loop and look at each round's working policy."""
    loop, task = make_loop(given.recipe, seed=given.seed), given.task
    with (
        tempfile.TemporaryDirectory() as place,
        RunFolder.resume(Path(place) / "run", {}, data_hashes={}) as folder,
    ):
        loop.run(task, folder)
        for t in range(1, loop.rounds + 1):
            working = folder.path(f"round-{t}") / "working"
            watch(LoraPolicy.load(task.trunk, working, sampling=task.sampling))


def climb_trl_on_ours(given: Material, watch: Watch) -> None:
    """Improve by TRL on the mean of our reward."""
    readings = given.task.trunk.read(given.pairs.responses)
    head = Conservative(head=Bayesian())
    reward = head.fit(readings, given.pairs, rng=stream(given.seed, "fit"))
    improve_by_trl(given, plugs.trl(reward.on(given.task.trunk), use="mean"), watch)


def climb_trl(given: Material, watch: Watch) -> None:
    """Improve by TRL on a reward model that TRL trained on the labels."""
    from benchmarks import trl_rival

    folder, model = trunk_path(), trl_rival.classifier(trunk_path(), given.seed)
    columns = trl_rival.tokens(given.task.trunk, given.pairs)
    with tempfile.TemporaryDirectory() as scratch:
        trl_rival.reward_trainer(
            model,
            folder,
            columns,
            Path(scratch),
            per_device_train_batch_size=16,
            num_train_epochs=1,
            learning_rate=REWARD_RATE,
            seed=given.seed,
        ).train()
    improve_by_trl(given, model.eval(), watch)


def improve_by_trl(given: Material, reward: Any, watch: Watch) -> None:
    """Run TRL's GRPO from our adapter; look at the policy every so many steps."""
    from peft import get_peft_model_state_dict, set_peft_model_state_dict
    from transformers import TrainerCallback

    from benchmarks import trl_rival

    policy, options = given.policy(), given.options
    every = options.every // BATCH

    class Show(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
            if state.global_step % every == 0:
                now = policy.copy()
                set_peft_model_state_dict(now.adapted, get_peft_model_state_dict(more["model"]))
                watch(now)

    prompts = given.task.draw(options.prompts, "learn", stream(given.seed, "improve", 1))
    with tempfile.TemporaryDirectory() as scratch:
        trainer = trl_rival.grpo_trainer(
            trunk_path(),
            prompts,
            reward,
            Path(scratch),
            [Show()],
            per_device_train_batch_size=BATCH * SAMPLES,
            num_generations=SAMPLES,
            max_completion_length=policy.max_new_tokens,
            learning_rate=TRL_RATE,
            lr_scheduler_type="constant_with_warmup",
            warmup_steps=5,
            max_steps=len(prompts) // BATCH,
            seed=given.seed,
        )
        set_peft_model_state_dict(trainer.model, get_peft_model_state_dict(policy.adapted))
        trainer.train()


ARMS = {"ours": climb_ours, "TRL": climb_trl, "TRL, ours": climb_trl_on_ours}


def one_run(arm: str, given: Material) -> list[Point]:
    """Return one arm's checkpoints, the trunk first."""
    points = [given.point(given.policy())]
    ARMS[arm](given, lambda policy: points.append(given.point(policy)))
    return points


def measure(options: Climb, cells: Cells) -> Measured:
    """Run every arm on every seed and compare at equal KL."""
    if options.quick:
        options = Climb(seeds=(0,), labels=60, prompts=16, every=8, measured=4)
    curves: dict[str, list[Curve]] = {arm: [] for arm in ARMS}
    for seed in options.seeds:
        given = Material(options, seed)
        for arm in ARMS:
            points = cells.get(lambda a=arm, g=given: one_run(a, g), arm=arm, seed=seed)
            curves[arm].append(Curve.of(points))
    rows = []
    for rival in ("TRL", "TRL, ours"):
        gaps = np.array([ahead(*pair) for pair in zip(curves["ours"], curves[rival], strict=True)])
        least = gaps[:, int(gaps.mean(0).argmin())]
        what = f"gold beyond the peak of {rival} at equal KL or less: least mean lead of the loop"
        rows.append(Row.positive(f"{what} ({(gaps > 0).all(1).sum()} of {len(gaps)} seeds ahead "
                                 "everywhere)", stats.mean(least)))  # fmt: skip
    for arm, some in curves.items():
        kept = min(float(c.gold[-1] / c.gold.max()) for c in some)
        bar, met = ("≥ 0.97", kept >= 0.97) if arm == "ours" else (None, None)
        rows.append(Row(f"gold at the end, share of the run's peak, {arm}: least", kept, bar, met))
    mean = {a: (np.mean([c.kl for c in s], 0), np.mean([c.gold for c in s], 0))
            for a, s in curves.items()}  # fmt: skip
    if options.plot is not None:
        plot(mean, ROOT / options.plot, x="KL from the trunk (nats)", y="gold", most=6.0)
    numbers = {
        arm: [{"kl": c.kl.tolist(), "gold": c.gold.tolist()} for c in some]
        for arm, some in curves.items()
    }
    return Measured(rows, {"runs": numbers})


if __name__ == "__main__":
    run(measure, Climb)
