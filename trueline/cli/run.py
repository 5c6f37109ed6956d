"""`trueline run`: the loop, on the embedded world or on a model and prompts of your own."""

from __future__ import annotations

import contextlib
import time
from dataclasses import asdict, dataclass, replace
from math import inf
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from rich.console import Console

from trueline import reports
from trueline.cli.common import load_trunk, set_threads
from trueline.cli.players import Table, make_helper, make_judge
from trueline.errors import InputError
from trueline.loop.budget import Budget
from trueline.loop.online import Online
from trueline.loop.progress import Bar, Silent
from trueline.loop.source import continue_from
from trueline.loop.task import Task
from trueline.loop.tasks import LEVELS, Asked, Assist, make_task
from trueline.models.endpoint import Endpoint
from trueline.models.trunk import Trunk
from trueline.oversight.critique import WithCritique
from trueline.oversight.debate import Debate
from trueline.oversight.direct import Direct
from trueline.oversight.recursive import Recursive
from trueline.policy.best_of_n import BestOfN
from trueline.policy.dpo import DPO
from trueline.policy.grpo import GRPO
from trueline.protocols import Oversight
from trueline.rewards.bayesian import Bayesian
from trueline.rewards.conservative import Conservative
from trueline.rewards.selfcheck import selfcheck
from trueline.runs import RunFolder
from trueline.worlds.sums.spans import Spans

__all__ = ["Run"]

_PROTOCOLS: dict[str, Oversight] = {
    "none": Direct(),
    "critique": WithCritique(),
    "debate": Debate(rounds=1),
    "recursive": Recursive(depth=len(LEVELS), division=Spans()),
}


@dataclass(frozen=True, kw_only=True)
class Run:
    """Improve a policy from raters' comparisons, each accepted step with its certificate.

    Alone it runs on the embedded world. On a model of your own:

        trueline run --model PATH --prompts stories.jsonl --rater rule:joy --out runs/joy

    The same command with the same --out goes on where a stopped run stands. Several processes
    share the work under `accelerate launch ... -m trueline run --device auto` (docs/scale.md).
    """

    model: str | None = None
    """Folder or hub name of a causal language model; the embedded world's own if not given."""
    prompts: Path | None = None
    """Prompts (.jsonl, .json, .csv, .parquet, .txt), for a model of your own."""
    prompt_words: int | None = None
    """Keep so many first words of each text, for texts that are to be continued."""
    rater: str = "simulated"
    """simulated, impressed, exact (embedded world); rule:NAME; file:PAIRS; people, model:PATH or
    endpoint:URL#MODEL."""
    assist: Assist | None = None
    """What helps the raters; critique in the embedded world, none elsewhere, if not given."""
    helper: str | None = None
    """Who helps people, model:PATH or endpoint:URL#MODEL to judge: one of the latter two."""
    optimiser: Literal["best_of_n", "dpo", "grpo"] = "best_of_n"
    """How the policy is improved."""
    learning_rate: float | None = None
    """Of the optimiser; its own default if not given."""
    kl_budget: float | None = None
    """Mean KL from the base model, nats an answer, beyond which no update goes; the optimiser's own
    if not given, inf: none."""
    length_penalty: float = 0.0
    """Taken off the reward for each token of an answer."""
    engine: str | None = None
    """URL#MODEL: a server (vLLM, SGLang) that samples while the policy is improved."""
    from_: Annotated[Path | None, tyro.conf.arg(name="from")] = None
    """Run folder to go on from: its certified policy and all comparisons learned from there, with
    other raters, help, reward, optimiser and a budget of its own."""
    rounds: int = 4
    """Rounds of the loop."""
    patience: int | None = None
    """End after so many rounds in a row without a certificate, labels unspent; never, if not
    given."""
    labels: int = 2000
    """Comparisons in all: for learning and for the gates."""
    alpha: float = 0.1
    """Chance, over the whole run, of certifying a policy that the raters like less."""
    k: float = 1.0
    """How many standard deviations of doubt are subtracted from the reward."""
    prompts_per_round: int = 192
    """Prompts a round on which the policy is improved."""
    measured_prompts: int = 200
    """Prompts set apart for measuring."""
    max_new_tokens: int = 80
    """Longest response."""
    seed: int = 0
    """All randomness comes from it."""
    out: Path | None = None
    """Run folder; runs/<time> if not given."""
    device: str = "cpu"
    """Where the model runs: cpu, cuda, … or auto: the one that accelerate gives each process."""
    threads: int = 1
    """Torch threads; more than one pays only on cores that nobody else uses."""
    json: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Print one JSON object on standard output and nothing else there."""

    def execute(self, console: Console) -> dict[str, Any]:
        """Run or resume; returns the result object."""
        set_threads(self.threads)
        trunk = load_trunk(self.model, device=self.device)
        task = self._task(trunk)
        workers, spec = trunk.workers, self._spec(task.about["assist"])
        Budget(spec.labels, spec.gate_frac, spec.rounds).check_learning(task.helper_cost)
        with self._folder(trunk, dict(task.data_hashes)) as folder:
            result = workers.once(lambda: folder.result)
            if result is None:
                selfcheck(trunk, task.specimens())
                errors = Console(stderr=True)
                bar = Bar(self.rounds, console=errors) if workers.is_main else None
                with bar or contextlib.nullcontext():
                    result = spec.run(task, folder, bar or Silent())
            report = workers.once(
                lambda: reports.write_report([folder.folder], folder.folder / "report.html")
            )
            console.print(reports.summary(folder.folder))
            console.print(f"report: {report}")
        return result

    def _task(self, trunk: Trunk) -> Task:
        """What is asked for, with an engine and what another run has learned."""
        asked = Asked(
            model=self.model,
            prompts=self.prompts,
            prompt_words=self.prompt_words,
            rater=self.rater,
            assist=self.assist,
            max_new_tokens=self.max_new_tokens,
            seed=self.seed,
            **self._readers(trunk),
        )
        task = make_task(trunk, asked)
        if self.engine is not None:
            # Other runs need none of what it loads.
            from trueline.models.engine import Engine

            url, _, model = self.engine.rpartition("#")
            if not url or not model:
                raise InputError("an engine must be named URL#MODEL", got=repr(self.engine))
            served = Endpoint(url=url, model=model, timeout_s=600.0, concurrency=32)
            task = replace(task, sampler=Engine(endpoint=served))
        return task if self.from_ is None else continue_from(self.from_, task)

    def _readers(self, trunk: Trunk) -> dict[str, Any]:
        """A judge that reads, and its helper."""
        kind, assist = self.rater.partition(":")[0], self.assist or "none"
        if kind not in ("people", "model", "endpoint"):
            if self.helper is not None:
                raise InputError(
                    "--helper needs a rater that reads: people, model:PATH or endpoint:URL#MODEL",
                    got=f"--rater {self.rater}",
                )
            return {}
        if assist not in ("none", "critique", "debate"):
            raise InputError("such raters are helped by critique or debate", got=assist)
        if self.model is None or self.prompts is None:
            raise InputError(
                f"--rater {self.rater} judges a model of your own",
                got="none",
                do="give --model and --prompts",
            )
        table = Table(device=self.device, queue=Path(f"{self.out or 'run'}.queue"))
        protocol = "direct" if assist == "none" else assist
        # They sit with the main process; the others never ask the one they have.
        seated: dict[str, Any] = {"judge": object()}

        def seat() -> None:
            seated["judge"] = make_judge(self.rater, table=table)
            seated["helper"] = make_helper(self.helper or "none", protocol, table=table)

        trunk.workers.once(seat)
        return seated

    def _spec(self, assist: str) -> Online:
        known: dict[str, BestOfN | DPO | GRPO]
        known = {"best_of_n": BestOfN(), "dpo": DPO(), "grpo": GRPO()}
        optimiser = known[self.optimiser]
        if self.learning_rate is not None:
            descent = replace(optimiser.descent, learning_rate=self.learning_rate)
            optimiser = replace(optimiser, descent=descent)
        optimiser = replace(optimiser, length_penalty=self.length_penalty)
        if self.kl_budget is not None:
            limits = replace(optimiser.limits, kl_budget=self.kl_budget)
            optimiser = replace(optimiser, limits=limits)
        return Online(
            rounds=self.rounds,
            patience=self.patience,
            labels=self.labels,
            alpha=self.alpha,
            prompts_per_round=self.prompts_per_round,
            measured_prompts=self.measured_prompts,
            reward=Conservative(head=Bayesian(), k=self.k),
            optimiser=optimiser,
            protocol=_PROTOCOLS[assist],
            seed=self.seed,
        )

    def _folder(self, trunk: Trunk, hashes: dict[str, str]) -> RunFolder:
        """The run folder, a new one or the same run's to go on with: held by the main process,
        seen by the others."""
        place = self.out or Path("runs") / time.strftime("%Y%m%d-%H%M%S")
        asked = {
            k.rstrip("_"): v for k, v in asdict(self).items() if k not in ("out", "json", "threads")
        }
        config = {
            "verb": "run",
            **{k: str(v) if isinstance(v, Path) or v == inf else v for k, v in asked.items()},
            "trunk": trunk.fingerprint(),
        }
        held: list[RunFolder] = []

        def hold() -> Path:
            held.append(RunFolder.resume(place, config, data_hashes=hashes))
            return place

        shown = trunk.workers.once(hold)
        return held[0] if held else RunFolder.view(shown)
