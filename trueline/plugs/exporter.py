"""Export a fitted reward with its trunk, or the policy that a run certified, as others read them.

    reward     AutoModelForSequenceClassification.from_pretrained(folder, trust_remote_code=True)
    adapter    PeftModel.from_pretrained(base model, folder)
    merged     AutoModelForCausalLM.from_pretrained(folder)

A reward goes by the code of `reward_model`, under a model type of its own, so that whoever leaves
`trust_remote_code` out gets an error, never a random head. Texts are to be formed by the folder's
chat template, as TRL does with conversational data; that they are then read as `trunk.read` reads
them is checked on a handful of dialogues, before anything is written. A trunk without a chat
template, an encoder among them, is refused: serve it. What is written is the mean: a lower bound is
not linear in the reading, so it is served and not exported.

A policy is sampled at temperature 1, as it was when it was certified; its card says what was
certified and at what risk. No path of this machine is written: whoever loads the adapter names the
base model. Merged in half precision its logits differ by what sums are rounded by.
"""

from __future__ import annotations

import copy
import dataclasses
import itertools
import json
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch
from jinja2 import TemplateError

from trueline.atomic import atomic_folder
from trueline.errors import DataError, InputError, SetupError
from trueline.loop.resume import State, certified_of
from trueline.models.adapters import LoraPolicy
from trueline.models.rollouts import Sampling
from trueline.models.template import shared
from trueline.models.trunk import Trunk
from trueline.plugs.reward_model import TruelineRewardConfig, TruelineRewardModel, place
from trueline.records import Message, Prompt, Response
from trueline.rewards.calibrated import CalibratedReward
from trueline.rewards.linear import LinearReward
from trueline.rewards.protocols import Fitted

__all__ = ["export", "export_policy"]

_TEXTS = ("two", " a b", " 12 ; answer 7", " one\n\ntwo.", "", "  ", "\n\n2", "(3)")
"""Answers whose beginnings may run into what the template writes before them."""


def export(reward: Fitted, trunk: Trunk, folder: str | Path) -> None:
    """Write the folder, which must be new or empty: the reward's mean, of a calibrated reward that
    of the one inside.

    Raise `InputError` for what is not linear in a trunk's reading of the answer; `SetupError` where
    the chat template is missing or cannot say what the trunk read.
    """
    reward = reward.inner if isinstance(reward, CalibratedReward) else reward
    if not isinstance(reward, LinearReward):
        raise InputError(
            "an exported reward must be linear in a trunk's reading",
            got=type(reward).__name__,
            do="export the linear reward inside it, or serve it as it is",
        )
    reward.on(trunk)
    tokenizer, layout = _layout(trunk)
    with _new_folder(folder) as fresh:
        _model(reward, trunk, tokenizer, layout).save_pretrained(fresh)
        tokenizer.save_pretrained(fresh)
        (fresh / "README.md").write_text(_reward_card(reward, layout), encoding="utf-8")


def _layout(trunk: Trunk) -> tuple[Any, dict[str, Any]]:
    """Return the tokenizer to ship, and how `place` finds its way in what it makes of a text."""
    codec = trunk.codec
    tokenizer = copy.deepcopy(codec.tokenizer)
    layout: dict[str, Any] = {}
    fault: str | None = "no chat template"
    if codec.chat:
        try:
            layout = _read_template(codec, tokenizer)
            fault = _fault(codec, tokenizer, layout)
        except DataError as error:
            fault = error.got
    if fault is not None:
        raise SetupError(
            "the tokenizer's chat template must form texts that are read as the trunk read them",
            got=fault,
            do="serve the reward instead (trueline serve), or mend the template",
        )
    # A text's end must not be taken for padding, so any token but the end will do.
    if tokenizer.pad_token_id in (None, codec.end_id):
        tokenizer.pad_token = tokenizer.bos_token or tokenizer.unk_token or tokenizer.eos_token
    return tokenizer, layout


def _read_template(codec: Any, tokenizer: Any) -> dict[str, Any]:
    """Return what the template writes around an answer, as tokens, read off one dialogue."""
    prompt = Prompt.of("a")
    (context,), foot = codec.prompt_ids([prompt]), codec.edges(prompt)[1]
    marker = context[len(context) - foot :]
    while marker and not tokenizer.decode(marker[-1:]).strip():
        marker.pop()
    opened = len(context) - foot + len(marker)
    rows = codec.encode([Response(prompt=prompt, text=text) for text in _TEXTS])
    bos = tokenizer.bos_token_id
    return {
        "head": [bos] if context[:1] == [bos] else [],
        "marker": marker,
        "blanks": sorted({tuple(row.ids[opened : row.start]) for row in rows}, key=len)[::-1],
        "tail": _templated(tokenizer, prompt, _TEXTS[0])[len(rows[0].ids) :],
        "close": codec.ending,
        "open": _opening(codec),
        "foot": foot,
        "max_tokens": codec.max_tokens,
    }


def _opening(codec: Any) -> list[int]:
    """Return the tokens by which the template opens a user's turn, behind a system turn or not."""
    asked = [Prompt.of("a"), Prompt.of("a", system="b")]
    pairs = zip(codec.prompt_ids(asked), map(codec.edges, asked), strict=True)
    heads: list[list[int]] = [ids[:head] for ids, (head, _) in pairs]
    plain, behind = heads
    folded = len(codec.template.frame(asked[1]).turns) == 1
    num = 0 if folded else shared(plain[::-1], behind[::-1])
    return plain[-num:]


def _templated(tokenizer: Any, prompt: Prompt, text: str) -> list[int]:
    """Return a dialogue's tokens as a stranger makes them."""
    turns = [*map(dataclasses.asdict, prompt.messages), {"role": "assistant", "content": text}]
    text = tokenizer.apply_chat_template(turns, tokenize=False)
    return list(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])


def _fault(codec: Any, tokenizer: Any, layout: dict[str, Any]) -> str | None:
    """Return the first of some dialogues that the template would have us read differently."""
    if not layout["marker"]:
        return "nothing between a user's words and an answer"
    user, other = Message("user", "one 2"), Message("assistant", " two")
    asked = [
        Prompt.of("7 + 5"),
        Prompt(messages=(user, other, Message("user", "three"))),
        Prompt.of("x " * codec.max_tokens),
    ]
    for prompt, text in itertools.product(asked, [*_TEXTS, " y" * codec.max_tokens]):
        (row,) = codec.encode([Response(prompt=prompt, text=text)])
        try:
            found = place(_templated(tokenizer, prompt, text), layout)
        except (TemplateError, ValueError) as error:
            return f"{text[:20]!r}: {error}"
        if found != (row.ids, row.start, row.stop):
            return f"{text[:20]!r} after {len(prompt.messages)} turns, which is read otherwise"
    return None


def _model(reward: LinearReward, trunk: Trunk, tokenizer: Any, layout: dict[str, Any]) -> Any:
    """Return the trunk in a `TruelineRewardModel`, which takes its file along."""
    forms: tuple[Any, Any] = (TruelineRewardConfig, TruelineRewardModel)
    forms[0].register_for_auto_class("AutoConfig")
    forms[1].register_for_auto_class("AutoModelForSequenceClassification")
    features = reward.features
    config = forms[0](
        num_labels=1,
        trunk=trunk.model.config.to_dict(),
        layout=layout,
        parts=[list(part) for part in features.parts],
        surprisals=features.surprisals,
        pad_token_id=tokenizer.pad_token_id,
    )
    with torch.device("meta"):
        model = forms[1](config)
    model.trunk = trunk.model
    columns = {"center": features.center, "scale": features.scale, "clip": [features.winsor]}
    columns |= {"reference": reward.reference, "weights": reward.weights}
    for name, values in columns.items():
        setattr(model, name, torch.tensor(values, dtype=torch.float32))
    return model


def _reward_card(reward: LinearReward, layout: dict[str, Any]) -> str:
    return f"""# A reward model, exported by Trueline

    AutoModelForSequenceClassification.from_pretrained(folder, num_labels=1, trust_remote_code=True)

`logits[:, 0]` is the posterior mean of the reward, in nats of log-odds, for texts formed by this
folder's chat template and tokenised by its tokenizer. In TRL: give conversational data and
`trust_remote_code=True`.

- fitted on {reward.metadata.get("n", "an unknown number of")} comparisons; trunk \
{(reward.trunk_fingerprint or "unknown")[:16]}; reads {", ".join(reward.features.names)}
- at most {layout["max_tokens"]} tokens; longer texts lose the left of their prompt
- the mean and not the lower bound, which is not linear: serve the reward for that (`trueline
serve`), as under strong optimisation one should
"""


def export_policy(
    run: str | Path,
    trunk: Trunk,
    folder: str | Path,
    *,
    merged: bool = False,
    round: int | None = None,
    sampling: Sampling | None = None,
) -> dict[str, Any]:
    """Write the last certified policy of a run, or that of a `round` whose gate certified or held
    it, to answer as `sampling` says; return its form, its round, what its gate said, and alpha."""
    view, _ = certified_of(run)
    state = State.load(view, trunk, sampling=sampling)
    if round is not None:
        kept = [r["round"] for r in state.rounds if r["gate"]["decision"] != "roll_back"]
        if round not in kept:
            must = f"the round must be one whose policy was kept: {', '.join(map(str, kept))}"
            raise InputError(must, got=str(round))
        place = view.path(f"round-{round}") / "working"
        policy = LoraPolicy.load(trunk, place, sampling=sampling)
        state = dataclasses.replace(state, certified=policy, certified_round=round)
    if not state.certified_round:
        raise InputError(
            "a policy is exported once a round of its run has certified it",
            got=f"none of {len(state.rounds)} in {run}",
            do="name a round whose policy was held (--round), or give more labels",
        )
    form = "merged" if merged else "adapter"
    # The chance that any gate so far certified what raters like less.
    alpha = float(sum(1 / row["gate"]["threshold"] for row in state.rounds))
    with _new_folder(folder) as fresh:
        (_merge if merged else _adapter)(state.certified, fresh)
        card = _policy_card(view.result or {}, state, trunk, form, alpha)
        (fresh / "README.md").write_text(card, encoding="utf-8")
    decision = state.rounds[state.certified_round - 1]["gate"]["decision"]
    return {"form": form, "round": state.certified_round, "gate": decision, "alpha": alpha}


def _adapter(policy: LoraPolicy, folder: Path) -> None:
    policy.save(folder)
    (folder / "trueline.json").unlink()
    file = folder / "adapter_config.json"
    config = {**json.loads(file.read_text()), "base_model_name_or_path": None}
    file.write_text(json.dumps(config, indent=2) + "\n")


def _merge(policy: LoraPolicy, folder: Path) -> None:
    # A plain deep copy has weights of its own: the trunk's are not to be changed.
    adapted: Any = copy.deepcopy(policy.adapted)
    model, codec = adapted.merge_and_unload(), policy.trunk.codec
    how = model.generation_config
    how.do_sample, how.temperature = True, policy.sampling.temperature
    how.top_p = policy.sampling.top_p
    how.eos_token_id = codec.end_id if how.eos_token_id is None else how.eos_token_id
    how.pad_token_id = codec.first_id if how.pad_token_id is None else how.pad_token_id
    model.save_pretrained(folder)
    codec.tokenizer.save_pretrained(folder)


def _policy_card(
    result: Mapping[str, Any], state: State, trunk: Trunk, form: str, alpha: float
) -> str:
    row = state.rounds[state.certified_round - 1]
    gate, kl, rate = row["gate"], row["kl"]["value"], row["gate"]["win_rate"]
    base = Path(str(result.get("model", "the model of the run"))).name
    head = f"""# A policy, {form}, exported by Trueline

- base model: {base}; sha256 of weights, configuration and tokenizer: {trunk.fingerprint()}
- said at temperature {state.certified.sampling.temperature:g}
- KL from the base model {"not measured" if kl is None else f"{kl:.2f} nats an answer"}
"""
    at = f"in round {state.certified_round} of {len(state.rounds)}"
    if gate["decision"] != "accept":
        return f"{head}- NOT certified: held {at}, no gate let it pass\n"
    return f"""{head}- certified {at}: raters preferred its answers \
to those of the policy certified before in {rate["value"]:.0%} [{rate["lower"]:.0%}, \
{rate["upper"]:.0%}] of {rate["n"]} fresh comparisons; e-value {gate["e_value"]:.3g}, threshold \
{gate["threshold"]:.3g}
- alpha {alpha:.3g}: the chance, over the whole run, that any policy was certified that these \
raters like less
- what was tested: {result.get("certificate", "better by the judgement of its raters")}
- not said: that the answers are better than these raters can tell, on other prompts, or for other \
raters
"""


def _new_folder(place: str | Path) -> AbstractContextManager[Path]:
    """Give a folder to fill that appears at `place` at once; refuse to write over anything."""
    place = Path(place)
    if place.is_file() or (place.is_dir() and any(place.iterdir())):
        raise SetupError("an export goes to a new or empty folder", got=f"{place}, which is not")
    return atomic_folder(place)
