"""Sampling: exact against Hugging Face where it is greedy, against the softmax where it is not."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import chisquare
from transformers import CONFIG_MAPPING, AutoModelForCausalLM

from tests.models.conftest import SMALL
from trueline.errors import InputError
from trueline.models import sampling
from trueline.models.adapters import BasePolicy
from trueline.models.chat_format import Codec
from trueline.models.sampling import _Batch, end_ids, generate
from trueline.records import Prompt

PROMPTS = [
    Prompt.of(text)
    for text in ("a", "a b c d e f", "7 + 5", "start 7 , + 5 1 2 3 4 5 6 7", "h g f", "7 + 5")
]


def test_greedy_is_hugging_faces_greedy(stories):
    """Mixed lengths in one batch; Hugging Face gets each prompt alone."""
    texts = ["Once upon a time", "Tom and", "One day, a girl named Lily found a needle. She"]
    prompts = [Prompt.of(t) for t in texts]
    rows = BasePolicy(stories).sample(
        prompts, num_samples=2, rng=np.random.default_rng(0), temperature=0.0, max_new_tokens=60
    )
    for prompt, row in zip(prompts, rows, strict=True):
        ids = torch.tensor(stories.codec.prompt_ids([prompt]))
        whole = stories.model.generate(ids, do_sample=False, max_new_tokens=60)[0]
        expected = stories.codec.tokenizer.decode(whole, skip_special_tokens=True)
        assert [prompt.text + r.text for r in row] == [expected] * 2


def test_a_token_of_no_weight_is_not_drawn_where_a_blocks_sum_was_rounded():
    batch, weights = object.__new__(_Batch), torch.full((1, 512), 0.9)
    weights[0, 1:257], weights[0, 0] = 0.0, 1.0
    total = 1.0 + weights[0, 256:].sum().double()
    batch.uniforms = ((1.0 + 1e-9) / total)[None, None]
    assert int(batch._draw(weights, 0, 1.0)[0]) == 257


FAMILIES: dict[str, dict[str, Any]] = {
    "llama": {"attention_bias": True, "tie_word_embeddings": True},
    "mistral": {"sliding_window": 8},
    "qwen3": {"head_dim": 16},
    "gpt2": {"n_embd": 48, "n_layer": 2, "n_head": 6},
    "gpt_neox": {},
}


@pytest.mark.parametrize("kind", FAMILIES)
def test_every_family_is_greedy_as_in_hugging_face(kind):
    config = CONFIG_MAPPING[kind](
        **{**SMALL, "eos_token_id": None, "pad_token_id": None, **FAMILIES[kind]}
    )
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = AutoModelForCausalLM.from_config(config).eval()
    prefixes = [[5, 6, 7] + [n] * 9 for n in (4, 9)]
    ids = torch.tensor(prefixes)
    how = {"do_sample": False, "max_new_tokens": 24, "pad_token_id": 0}
    whole = model.generate(ids, attention_mask=torch.ones_like(ids), **how)
    how = {"uniforms": np.zeros((3, 2, 24)), "stop_ids": frozenset(), "temperature": 0.0}
    grown = generate(model, [*prefixes, [8, 9]], **how)
    for row, theirs in zip(grown[:2], whole[:, 12:].tolist(), strict=True):
        assert [c.ids for c in row] == [theirs] * 2


def test_what_is_said_does_not_depend_on_the_batch(chat, monkeypatch):
    uniforms = np.random.default_rng(3).random((len(PROMPTS), 5, 20))
    ids = chat.codec.prompt_ids(PROMPTS)
    draws = []
    for rows in (512, 10, 3, 1):
        monkeypatch.setattr(sampling, "MAX_ROWS", rows)
        draws.append(generate(chat.model, ids, uniforms=uniforms, stop_ids=frozenset({2})))
    flat = [[c for row in draw for c in row] for draw in draws]
    assert {c.end_id for c in flat[0]} == {2, None}
    for c, *others in zip(*flat, strict=True):
        assert 2 not in c.ids
        assert len(c.ids) == 20 if c.end_id is None else len(c.ids) < 20
        assert len(c.token_logps) == len(c.ids) + (c.end_id is not None)
        for other in others:
            assert (other.ids, other.end_id) == (c.ids, c.end_id)
            np.testing.assert_allclose(other.token_logps, c.token_logps, atol=1e-3)


@pytest.mark.parametrize("end", ["<end>", "<user>"])
def test_logp_is_the_logp_of_the_text(chat, end):
    """Samples that ended as the template ends and hold no special token read back as they were
    said; those that ended with another end token keep it."""
    tokenizer = chat.codec.tokenizer
    tokenizer.chat_template = tokenizer.chat_template.replace("<end>", end)
    chat.codec = Codec(tokenizer, is_encoder=False, max_tokens=64)
    stop = tokenizer.convert_tokens_to_ids(end)
    assert chat.codec.ending == [stop] and end_ids(chat.model, chat.codec) == {2, stop}
    policy, state = BasePolicy(chat), torch.get_rng_state()
    rolled = policy.rollouts(
        PROMPTS, num_samples=40, rng=np.random.default_rng(5), max_new_tokens=40
    )
    assert torch.equal(state, torch.get_rng_state())
    rows, flat = rolled.rows, rolled.flat
    again = chat.codec.encode(flat)
    plain = [set(row.ids[row.start : row.stop - row.end]).isdisjoint(range(6)) for row in rows]
    ended = np.flatnonzero(rolled.ended & plain)
    whole = [i for i in ended if rows[i].ids[-1] == stop]
    assert len(whole) > 20 and all(rows[i].end == 1 for i in ended)
    assert [i for i in ended if rows[i].ids == again[i].ids] == whole
    logps = policy.logp([flat[i] for i in whole], grad=False).numpy()
    np.testing.assert_allclose(logps, [flat[i].logp for i in whole], atol=1e-4)
    read = chat.read([flat[i] for i in whole])
    np.testing.assert_allclose(read.logp[read.rows([flat[i].key for i in whole])], logps, atol=1e-3)


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_frequencies_match_the_softmax(chat, temperature):
    prompt = Prompt.of("7 + 5")
    ids = chat.codec.prompt_ids([prompt])[0]
    with torch.no_grad():
        logits = chat.model(torch.tensor([ids])).logits[0, -1].double()
    probs = torch.softmax(logits / temperature, 0).numpy()
    num = 20_000
    grown = generate(
        chat.model,
        [ids],
        uniforms=np.random.default_rng(11).random((1, num, 1)),
        stop_ids=frozenset(),
        temperature=temperature,
    )[0]
    counts = np.bincount([c.ids[0] for c in grown], minlength=len(probs))
    common = probs * num >= 5
    observed = np.append(counts[common], counts[~common].sum())
    expected = np.append(probs[common], probs[~common].sum()) * num
    assert chisquare(observed, expected).pvalue > 1e-3
    said, logps = zip(*((c.ids[0], c.token_logps[0]) for c in grown), strict=True)
    np.testing.assert_allclose(logps, np.log(probs)[list(said)], atol=1e-4)


@pytest.mark.parametrize("top_p", [1e-9, 0.4, 0.8])
def test_a_nucleus_holds_the_likeliest_and_no_more_than_it_needs(chat, top_p):
    ids = chat.codec.prompt_ids(PROMPTS[:1])[0]
    with torch.no_grad():
        probs = torch.softmax(
            chat.model(torch.tensor([ids])).logits[0, -1].double() / 0.7, 0
        ).numpy()
    order = np.argsort(-probs)
    inside = order[: int((np.cumsum(probs[order]) < top_p).sum()) + 1]
    how = {"uniforms": np.random.default_rng(3).random((1, 4_000, 1)), "stop_ids": frozenset()}
    grown = generate(chat.model, [ids], temperature=0.7, top_p=top_p, **how)[0]
    counts = np.bincount([c.ids[0] for c in grown], minlength=len(probs))
    assert set(np.flatnonzero(counts)) <= set(inside)
    expected = 4_000 * probs[inside] / probs[inside].sum()
    if len(inside) > 1:
        assert chisquare(counts[inside], expected).pvalue > 1e-3
    logps = [c.token_logps[0] - np.log(probs[c.ids[0]]) for c in grown]
    np.testing.assert_allclose(logps, 0, atol=1e-4, err_msg="of the whole vocabulary")


@pytest.mark.parametrize("wrong", [{"num_samples": 0}, {"temperature": math.nan}])
def test_impossible_settings_are_refused(chat, wrong):
    with pytest.raises(InputError, match="at least 1"):
        BasePolicy(chat).rollouts(PROMPTS, **{"num_samples": 1, "rng": None, **wrong})
