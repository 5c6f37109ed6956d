"""A fitted reward and its trunk as one folder that `AutoModelForSequenceClassification` reads.

    native   logits = score.weight h_L(last token),  score.weight = weights / scale,  bias dropped
    custom   the reward itself, by the code of `reward_model` in the folder (`trust_remote_code`)

A plain sequence classifier sees the last layer at the last token and is linear in it. A reward is
written in that form if it reads nothing else and clips nothing, on a causal trunk whose template
ends with the last token read; its scores then differ from ours by one constant. Everything else
(layers, pools, surprisals, winsorising, encoders) goes with a class of its own, under a model type
of its own, so that whoever leaves `trust_remote_code` out gets an error, never a random head.

Texts are to be formed by the folder's chat template, as TRL does with conversational data. A
tokenizer without one is given one that writes dialogues as `Codec` does and opens the response
with a token of its own, which the trunk never sees. That texts so formed are read as `trunk.read`
reads them is checked here on a handful of dialogues, before anything is written.

Doubt is not exported: a bare trainer sees the posterior mean. Use `plugs.trl_reward` for the rest.
Fails where the template's text is not what the trunk read in fitting: refused, with the reason.
An empty answer, where the tokenizer had no template, may be read without its opening space.
"""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from jinja2 import TemplateError
from transformers import (
    MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING,
    AutoModelForSequenceClassification,
)

from trueline.atomic import atomic_folder
from trueline.errors import InputError, SetupError
from trueline.models.trunk import Trunk
from trueline.plugs.reward_model import TruelineRewardConfig, TruelineRewardModel, place
from trueline.records import Message, Prompt, Response
from trueline.rewards.fitted import FittedReward

__all__ = ["export"]

MARKER = "<|response|>"
_TURNS = (
    "{% set who = {'user': 'Human', 'assistant': 'Assistant', 'system': 'System'} %}"
    "{% for m in (messages[:-1] if said else messages) %}"
    "{{ '\n\n' + who.get(m.role, m.role) + ': ' + m.content }}{% endfor %}{{ '\n\nAssistant:' }}"
)
_AUTO: list[tuple[Any, str]] = [
    (TruelineRewardConfig, "AutoConfig"),
    (TruelineRewardModel, "AutoModelForSequenceClassification"),
]
_SPACE = "{% if a[:1].strip() == a[:1] %} {% endif %}"
"""The glue that `Codec` puts before an answer that lacks it."""


def export(reward: FittedReward, trunk: Trunk, folder: str | Path, *, native: bool = False) -> str:
    """Write the folder; returns "native" or "custom", the form that the reward took.

    `native`: refuse, with the reason, what the plain class cannot hold.
    """
    if not isinstance(reward, FittedReward):
        raise InputError(
            "an exported reward must be linear in a trunk's reading",
            got=type(reward).__name__,
            do="export the linear reward inside it, or serve it as it is",
        )
    reward.on(trunk)
    folder = Path(folder)
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        raise SetupError("an export goes to a new or empty folder", got=f"{folder}, which is not")
    if any(pool == "eval" for _, pool in reward.features.parts):
        raise InputError(
            "an exported reward must read the answer alone",
            got='the pool "eval", read after an evaluation prompt',
            do='fit with pooling="both"',
        )
    tokenizer, layout = _layout(reward, trunk)
    reason = _why_not_native(reward, trunk, layout)
    if native and reason:
        raise InputError("the plain class holds a last layer's last token, linearly", got=reason)
    with atomic_folder(folder) as fresh:
        if reason:
            _custom(reward, trunk, tokenizer, layout).save_pretrained(fresh)
        else:
            _native(reward, trunk, tokenizer).save_pretrained(fresh)
        tokenizer.save_pretrained(fresh)
        (fresh / "README.md").write_text(_card(reward, reason, layout), encoding="utf-8")
    return "custom" if reason else "native"


def _layout(reward: FittedReward, trunk: Trunk) -> tuple[Any, dict[str, Any]]:
    """The tokenizer to ship, and how `place` finds its way in what it makes of a dialogue."""
    codec = trunk.codec
    tokenizer = copy.deepcopy(codec.tokenizer)
    # A text's end must not be taken for padding, so any token but the end will do.
    if tokenizer.pad_token_id in (None, codec.end_id):
        tokenizer.pad_token = tokenizer.bos_token or tokenizer.unk_token or tokenizer.eos_token
    needs_start = reward.features.surprisals or any(p == "mean" for _, p in reward.features.parts)
    bare = tokenizer("a", add_special_tokens=False)["input_ids"]
    full = bare if codec.chat else tokenizer("a")["input_ids"]
    at = next((i for i in range(len(full)) if full[i : i + len(bare)] == bare), 0)
    layout: dict[str, Any] = {
        "head": full[:at],
        "foot": full[at + len(bare) :],
        "tail": [],
        "close": [codec.end_id] if codec.appends_end else [],
        "first": codec.first_id,
        "max_tokens": codec.max_tokens,
        "is_encoder": trunk.is_encoder,
        "marker": [],
        "marker_is_ours": False,
    }
    if codec.chat:
        _read_template(codec, tokenizer, layout, needs_start)
        tried = [str(tokenizer.chat_template)]
    else:
        if needs_start:
            tokenizer.add_special_tokens({"additional_special_tokens": [MARKER]})
            layout["marker"] = [tokenizer.convert_tokens_to_ids(MARKER)]
            layout["marker_is_ours"] = True
        tried = [_template(trunk, needs_start, eats_space=eats) for eats in (False, True)]
    for template in tried:
        tokenizer.chat_template = template
        fault = _fault(trunk, tokenizer, layout)
        if fault is None:
            return tokenizer, layout
    raise SetupError(
        "the chat template's text must be read as the trunk read it in fitting",
        got=fault,
        do="serve the reward instead (trueline serve), or mend the template",
    )


def _read_template(codec: Any, tokenizer: Any, layout: dict[str, Any], needs_start: bool) -> None:
    """Beginning, marker and tail of the model's own chat template, from one dialogue."""
    turns = [{"role": "user", "content": "a"}]
    opened = codec.render(Prompt.of("a"))[0]
    asked = str(tokenizer.apply_chat_template(turns, tokenize=False))
    row = codec.encode([Response(prompt=Prompt.of("a"), text="a")])[0]
    bos = tokenizer.bos_token_id
    layout["head"] = [bos] if row.ids[:1] == [bos] else []
    ids = _templated(tokenizer, Prompt.of("a"), "a")
    layout["tail"] = ids[len(row.ids) :]
    marker = opened[len(asked) :] if opened.startswith(asked) else ""
    layout["marker"] = tokenizer(marker, add_special_tokens=False)["input_ids"]
    if not needs_start:
        layout["marker"] = []
    elif not layout["marker"]:
        raise SetupError(
            "the chat template must open an assistant's turn with words of its own",
            got="a template whose generation prompt is empty",
            do='fit a reward that reads pooling="last" alone, without surprisals',
        )


def _template(trunk: Trunk, needs_start: bool, *, eats_space: bool) -> str:
    """`Codec`'s own layout as a chat template. `eats_space`: the tokenizer puts a space of its own
    after a special token, so that the answer's must go, and one without cannot be written."""
    if eats_space:
        running = (
            "{% if a[:1] != ' ' %}{{ raise_exception('an answer in running text must begin with "
            "a space') }}{% endif %}{{ a[1:] }}"
        )
        spoken = "{{ a[1:] if a[:1] == ' ' else a }}"
    else:
        spoken = _SPACE + "{{ a }}"
        running = spoken if trunk.is_encoder else "{{ a }}"
    marker = MARKER if needs_start else ""
    return (
        "{% set said = messages[-1].role == 'assistant' %}{% set a = messages[-1].content %}"
        "{% if messages[0].role == 'user' and messages|length == 1 + said %}"
        f"{{{{ messages[0].content }}}}{marker}{{% if said %}}{running}{{% endif %}}"
        f"{{% else %}}{_TURNS}{marker}{{% if said %}}{spoken}{{% endif %}}{{% endif %}}"
    )


def _templated(tokenizer: Any, prompt: Prompt, text: str) -> list[int]:
    """A dialogue's tokens as a stranger makes them."""
    turns = [*map(dataclasses.asdict, prompt.messages), {"role": "assistant", "content": text}]
    said = tokenizer.apply_chat_template(turns, tokenize=False)
    return list(tokenizer(said, add_special_tokens=False, verbose=False)["input_ids"])


def _fault(trunk: Trunk, tokenizer: Any, layout: dict[str, Any]) -> str | None:
    """The first of some dialogues that the template's text would have us read differently."""
    user, other = Message("user", "one 2"), Message("assistant", " two")
    asked = [
        Prompt.of("7 + 5"),
        Prompt(messages=(user, other, Message("user", "three"))),
        Prompt.of("x " * trunk.codec.max_tokens),
    ]
    texts = [" a b", " 12 ; answer 7", " one\n\ntwo.", " y" * trunk.codec.max_tokens]
    for prompt in asked:
        running = len(prompt.messages) == 1 and not (trunk.codec.chat or trunk.is_encoder)
        for text in [*texts, *([] if running else ["two"]), *([""] if trunk.codec.chat else [])]:
            row = trunk.codec.encode([Response(prompt=prompt, text=text)])[0]
            try:
                ids, start, stop = place(_templated(tokenizer, prompt, text), layout)
            except (TemplateError, ValueError) as error:
                return f"{text[:20]!r}: {error}"
            if ids != row.ids or (layout["marker"] and (start, stop) != (row.start, row.stop)):
                return f"{text[:20]!r} after {len(prompt.messages)} turns, which is read otherwise"
    return None


def _why_not_native(reward: FittedReward, trunk: Trunk, layout: dict[str, Any]) -> str | None:
    """What the plain class could not hold, or None."""
    features = reward.features
    names = np.array(features.names)[features.owners]
    tokenizer = trunk.codec.tokenizer
    adds = (
        not trunk.codec.chat
        and tokenizer("a")["input_ids"] != (tokenizer("a", add_special_tokens=False)["input_ids"])
    )
    reasons = {
        "an encoder, whose plain class pools the first token": trunk.is_encoder,
        "weights on other layers, pools or surprisals": bool(
            reward.weights[names != f"layer {trunk.num_layers} last"].any()
        ),
        f"winsorised features (winsor={features.winsor:g})": bool(np.isfinite(features.winsor)),
        "a tokenizer whose special tokens trainers leave out": adds,
        "a chat template that goes on after the end token": bool(layout["tail"]),
        "a model that has no plain classifier": type(trunk.model.config)
        not in MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING,
    }
    return next((reason for reason, holds in reasons.items() if holds), None)


def _native(reward: FittedReward, trunk: Trunk, tokenizer: Any) -> Any:
    """The trunk under `score.weight`."""
    features, plain = reward.features, cast(Any, AutoModelForSequenceClassification)
    config = copy.deepcopy(trunk.model.config)
    config.num_labels, config.pad_token_id = 1, tokenizer.pad_token_id
    with torch.device("meta"):
        model = plain.from_config(config)
    setattr(model, model.base_model_prefix, trunk.model.base_model)
    at = features.owners == features.names.index(f"layer {trunk.num_layers} last")
    weight = torch.tensor((reward.weights / features.scale)[at][None], dtype=trunk.model.dtype)
    model.score.weight = torch.nn.Parameter(weight, requires_grad=False)
    return model


def _custom(reward: FittedReward, trunk: Trunk, tokenizer: Any, layout: dict[str, Any]) -> Any:
    """The trunk in `TruelineRewardModel`, which takes its file along."""
    for kind, name in _AUTO:
        kind.register_for_auto_class(name)
    features = reward.features
    config = TruelineRewardConfig(
        trunk=trunk.model.config.to_dict(),
        layout=layout,
        parts=[list(part) for part in features.parts],
        surprisals=features.surprisals,
        pad_token_id=tokenizer.pad_token_id,
    )
    with torch.device("meta"):
        model: Any = TruelineRewardModel(config)
    model.trunk = trunk.model
    for name in ("center", "scale", "reference", "weights"):
        column = getattr(features, name, None)
        value = getattr(reward, name) if column is None else column
        setattr(model, name, torch.tensor(value, dtype=torch.float32))
    model.clip = torch.tensor([features.winsor], dtype=torch.float32)
    return model


def _card(reward: FittedReward, reason: str | None, layout: dict[str, Any]) -> str:
    """What whoever finds the folder must know."""
    trust = ", trust_remote_code=True" if reason else ""
    lines = [
        "# A reward model, exported by Trueline",
        "",
        f"    AutoModelForSequenceClassification.from_pretrained(folder, num_labels=1{trust})",
        "",
        "`logits[:, 0]` is the posterior mean of the reward, in nats of log-odds, for texts formed",
        "by this folder's chat template and tokenised by its tokenizer"
        + (", with or without special tokens." if reason else " without special tokens."),
        f"In TRL: give conversational data{' and `trust_remote_code=True`' if reason else ''}.",
        "",
        f"- fitted on {reward.metadata.get('n', 'an unknown number of')} comparisons; trunk "
        f"{(reward.trunk_fingerprint or 'unknown')[:16]}; layers {list(reward.layers)}, pools "
        f"{reward.pooling}",
        f"- form: {'custom, because of ' + reason if reason else 'native, up to a constant'}",
        f"- at most {layout['max_tokens']} tokens; longer texts lose the left of their prompt"
        if reason
        else f"- at most {layout['max_tokens']} tokens: cut longer prompts from the left yourself",
        "- the doubt (std, novelty) stays behind: under strong optimisation use the reward itself",
    ]
    if layout["marker"]:
        lines.append("- the response is what follows the last opening of an assistant's turn")
    return "\n".join(lines) + "\n"
