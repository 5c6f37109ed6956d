"""Export the policy that a run certified as a folder that `peft` or `transformers` reads.

    adapter   PeftModel.from_pretrained(base model, folder)
    merged    AutoModelForCausalLM.from_pretrained(folder)

It is sampled at temperature 1, as it was when it was certified, on prompts formed by the model's
chat template, or in running text where it has none. A card says what was certified, by whom and at
what risk. No path of this machine is written: whoever loads the adapter names the base model.

Where what was certified is the model itself, there is nothing to export: refused. A merged model in
half precision rounds its sums, so its logits differ by that from the policy's own.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trueline.errors import InputError
from trueline.loop.resume import State, certified_of
from trueline.models.adapters import LoraPolicy
from trueline.models.trunk import Trunk
from trueline.plugs.turns import new_folder

__all__ = ["export_policy"]


def export_policy(
    run: str | Path, trunk: Trunk, folder: str | Path, *, merged: bool = False
) -> dict[str, Any]:
    """Write the last certified policy of a run; return its form, the round it is of, and alpha."""
    view, _ = certified_of(run)
    state = State.load(view, trunk)
    if not state.certified_round:
        raise InputError(
            "a policy is exported once a round of its run has certified it",
            got=f"none of {len(state.rounds)} in {run}",
            do="use what the run began from, or give it more labels",
        )
    form = "merged" if merged else "adapter"
    # The chance that any gate so far certified what raters like less.
    alpha = float(sum(1 / row["gate"]["threshold"] for row in state.rounds))
    with new_folder(folder) as fresh:
        (_merge if merged else _adapter)(state.certified, fresh)
        card = _readme(view.result or {}, state, trunk, form, alpha)
        (fresh / "README.md").write_text(card, encoding="utf-8")
    return {"form": form, "round": state.certified_round, "alpha": alpha}


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
    how.do_sample, how.temperature = True, 1.0
    how.eos_token_id = codec.end_id if how.eos_token_id is None else how.eos_token_id
    how.pad_token_id = codec.first_id if how.pad_token_id is None else how.pad_token_id
    model.save_pretrained(folder)
    codec.tokenizer.save_pretrained(folder)


def _readme(result: Mapping[str, Any], state: State, trunk: Trunk, form: str, alpha: float) -> str:
    """Return what whoever finds the folder must know."""
    row = state.rounds[state.certified_round - 1]
    gate, kl, rate = row["gate"], row["kl"]["value"], row["gate"]["win_rate"]
    base = Path(str(result.get("model", "the model of the run"))).name
    return f"""# A policy, {form}, exported by Trueline

- base model: {base}; sha256 of weights, configuration and tokenizer: {trunk.fingerprint()}
- certified in round {state.certified_round} of {len(state.rounds)}: raters preferred its answers \
to those of the policy certified before in {rate["value"]:.0%} [{rate["lower"]:.0%}, \
{rate["upper"]:.0%}] of {rate["n"]} fresh comparisons; e-value {gate["e_value"]:.3g}, threshold \
{gate["threshold"]:.3g}
- alpha {alpha:.3g}: the chance, over the whole run, that any policy was certified that these \
raters like less
- what was tested: {result.get("certificate", "better by the judgement of its raters")}
- KL from the base model {"not measured" if kl is None else f"{kl:.2f} nats an answer"}
- not said: that the answers are better than these raters can tell, on other prompts, or for other \
raters
"""
