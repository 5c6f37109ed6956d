"""Export a fitted reward and its trunk as a folder that `AutoModelForSequenceClassification` reads.

The folder holds the reward itself, by the code of `reward_model` (`trust_remote_code=True`), under
a model type of its own, so that whoever leaves `trust_remote_code` out gets an error, never a
random head. Where we differ from a plain sequence classifier: layers, pools, surprisals and clipped
features go along.

Texts are to be formed by the folder's chat template, as TRL does with conversational data. That
they are then read as `trunk.read` reads them is checked here on a handful of dialogues, before
anything is written. A trunk without a chat template, an encoder among them, is refused: serve it.

The uncertainty is not exported: a bare trainer sees the posterior mean. `plugs.trl` gives the rest.
"""

from __future__ import annotations

import copy
import dataclasses
import itertools
from pathlib import Path
from typing import Any

import torch
from jinja2 import TemplateError

from trueline.errors import InputError, SetupError
from trueline.models.trunk import Trunk
from trueline.plugs.reward_model import TruelineRewardConfig, TruelineRewardModel, place
from trueline.plugs.turns import new_folder
from trueline.records import Message, Prompt, Response
from trueline.rewards.linear import LinearReward
from trueline.rewards.protocols import Fitted

__all__ = ["export"]


def export(reward: Fitted, trunk: Trunk, folder: str | Path) -> None:
    """Write the folder, which must be new or empty.

    Raise `InputError` for what is not linear in a trunk's reading of the answer; `SetupError` where
    the chat template is missing or cannot say what the trunk read.
    """
    if not isinstance(reward, LinearReward):
        raise InputError(
            "an exported reward must be linear in a trunk's reading",
            got=type(reward).__name__,
            do="export the linear reward inside it, or serve it as it is",
        )
    reward.on(trunk)
    tokenizer, layout = _layout(trunk)
    with new_folder(folder) as fresh:
        _model(reward, trunk, tokenizer, layout).save_pretrained(fresh)
        tokenizer.save_pretrained(fresh)
        (fresh / "README.md").write_text(_readme(reward, layout), encoding="utf-8")


def _layout(trunk: Trunk) -> tuple[Any, dict[str, Any]]:
    """Return the tokenizer to ship, and how `place` finds its way in what it makes of a text."""
    codec = trunk.codec
    tokenizer = copy.deepcopy(codec.tokenizer)
    # A text's end must not be taken for padding, so any token but the end will do.
    if tokenizer.pad_token_id in (None, codec.end_id):
        tokenizer.pad_token = tokenizer.bos_token or tokenizer.unk_token or tokenizer.eos_token
    layout: dict[str, Any] = {}
    fault: str | None = "no chat template"
    if codec.chat:
        layout = _read_template(codec, tokenizer)
        fault = _fault(codec, tokenizer, layout)
    if fault is not None:
        raise SetupError(
            "the tokenizer's chat template must form texts that are read as the trunk read them",
            got=fault,
            do="serve the reward instead (trueline serve), or mend the template",
        )
    return tokenizer, layout


def _read_template(codec: Any, tokenizer: Any) -> dict[str, Any]:
    """Return what the template writes around an answer, as tokens, read off one dialogue."""
    prompt = Prompt.of("a")
    asked = str(tokenizer.apply_chat_template([{"role": "user", "content": "a"}], tokenize=False))
    marker = codec.render(prompt)[0].removeprefix(asked)
    (row,) = codec.encode([Response(prompt=prompt, text="a")])
    bos = tokenizer.bos_token_id
    return {
        "head": [bos] if row.ids[:1] == [bos] else [],
        "marker": tokenizer(marker, add_special_tokens=False)["input_ids"],
        "tail": _templated(tokenizer, prompt, "a")[len(row.ids) :],
        "close": [codec.end_id] if codec.appends_end else [],
        "max_tokens": codec.max_tokens,
    }


def _templated(tokenizer: Any, prompt: Prompt, text: str) -> list[int]:
    """Return a dialogue's tokens as a stranger makes them."""
    turns = [*map(dataclasses.asdict, prompt.messages), {"role": "assistant", "content": text}]
    text = tokenizer.apply_chat_template(turns, tokenize=False)
    return list(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])


def _fault(codec: Any, tokenizer: Any, layout: dict[str, Any]) -> str | None:
    """Return the first of some dialogues that the template would have us read differently."""
    if not layout["marker"]:
        return "a generation prompt that is empty"
    user, other = Message("user", "one 2"), Message("assistant", " two")
    asked = [
        Prompt.of("7 + 5"),
        Prompt(messages=(user, other, Message("user", "three"))),
        Prompt.of("x " * codec.max_tokens),
    ]
    texts = [" a b", " 12 ; answer 7", " one\n\ntwo.", " y" * codec.max_tokens, "two", ""]
    for prompt, text in itertools.product(asked, texts):
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


def _readme(reward: LinearReward, layout: dict[str, Any]) -> str:
    """Return what whoever finds the folder must know."""
    return f"""# A reward model, exported by Trueline

    AutoModelForSequenceClassification.from_pretrained(folder, num_labels=1, trust_remote_code=True)

`logits[:, 0]` is the posterior mean of the reward, in nats of log-odds, for texts formed by this
folder's chat template and tokenised by its tokenizer. In TRL: give conversational data and
`trust_remote_code=True`.

- fitted on {reward.metadata.get("n", "an unknown number of")} comparisons; trunk \
{(reward.trunk_fingerprint or "unknown")[:16]}; reads {", ".join(reward.features.names)}
- at most {layout["max_tokens"]} tokens; longer texts lose the left of their prompt
- the uncertainty stays behind: under strong optimisation use the reward itself
"""
