"""A reading is what Hugging Face computes for the row alone, whatever stands beside it."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import T5Config

from tests.models.conftest import make_chat_model, tokenize
from trueline.errors import DataError, InputError, InvalidExperiment, SetupError
from trueline.models.adapters import LoraPolicy
from trueline.models.forward import Batch, pooling
from trueline.models.logits import logits_at
from trueline.models.trunk import Trunk
from trueline.records import Message, Prompt, Response


def test_latents_are_hugging_faces_hidden_states(trunk, responses):
    readings = trunk.read(responses)
    assert readings.latents.shape == (len(responses), trunk.num_layers + 1, 2, trunk.width)
    for row, latents in zip(trunk.codec.encode(responses), readings.latents, strict=True):
        with torch.no_grad():
            out = trunk.model(input_ids=torch.tensor([row.ids]), output_hidden_states=True)
        for (hidden,), got in zip(out.hidden_states, latents, strict=True):
            last = hidden[max(row.stop - 1, 0)]
            mean = hidden[row.start : row.stop].mean(0) if row.stop > row.start else last
            np.testing.assert_allclose(got[0], last.numpy(), atol=1e-4)
            np.testing.assert_allclose(got[1], mean.numpy(), atol=1e-4)


def test_an_encoder_has_no_logp_and_no_policy(minilm, responses):
    readings = minilm.read(responses[:1])
    with pytest.raises(InputError, match="causal"):
        _ = readings.logp
    with pytest.raises(InputError, match="causal"):
        LoraPolicy.create(minilm, rng=np.random.default_rng(0))


def test_reference_logp_is_the_loss(speaker, responses):
    trunk, readings = speaker, speaker.read(responses)
    for n, row in enumerate(trunk.codec.encode(responses)):
        count = row.stop - row.start
        labels = torch.tensor([[-100] * row.start + row.ids[row.start :]])
        with torch.no_grad():
            loss = trunk.model(input_ids=torch.tensor([row.ids]), labels=labels).loss
        expected = -float(loss) * count if count else 0.0
        assert readings.logp[n] == pytest.approx(expected, abs=1e-3)
        total, mean, largest, second, length = readings.surprisals[n]
        assert length == count
        assert mean == pytest.approx(total / max(count, 1), abs=1e-4)
        assert largest >= second >= 0


@pytest.mark.parametrize("budget", [1, 60, 16_384])
def test_results_do_not_depend_on_the_batch(trunk, responses, budget):
    whole = trunk.read(responses)
    trunk.batch_tokens = budget
    order = np.random.default_rng(0).permutation(len(responses))
    mixed = trunk.read([responses[i] for i in order])
    back = mixed.take(mixed.rows(whole.keys))
    np.testing.assert_allclose(back.latents, whole.latents, atol=1e-4)
    if whole.surprisals is not None:
        np.testing.assert_allclose(back.surprisals, whole.surprisals, atol=1e-3)


def test_a_pass_changes_nothing_for_other_threads_and_copies(chat, responses):
    expected, ids = chat.read(responses), torch.tensor([tokenize(chat, Prompt.of("a b"), "c d")[0]])
    logits = chat.model(ids).logits
    pools = Batch.of(chat.codec.encode(responses), device=chat.device).weights
    with logits_at(chat.model, torch.tensor([0])), pooling(chat.model, (0, 1, 2), pools):
        with ThreadPoolExecutor(1) as pool:
            assert torch.equal(pool.submit(lambda: chat.model(ids).logits).result(), logits)
            again = pool.submit(chat.read, responses).result()
        copy = LoraPolicy.create(chat, rank=1, rng=np.random.default_rng(0))
    np.testing.assert_array_equal(again.latents, expected.latents)
    assert torch.equal(copy.network(ids).logits, logits)
    assert not any(p.requires_grad for p in chat.model.parameters())
    assert not chat.model.training


def test_chosen_layers_are_the_same_numbers(chat_folder, responses):
    every = Trunk.load(chat_folder).read(responses)
    some = Trunk.load(chat_folder, layers=(2, 0)).read(responses)
    assert some.layers == (0, 2)
    np.testing.assert_allclose(some.latents, every.latents[:, [0, 2]], atol=1e-5)
    for layers in ((3,), (-1,), ()):
        with pytest.raises(InputError, match=r"among 0\.\.2"):
            Trunk.load(chat_folder, layers=layers)


def test_too_long_keeps_the_response(trunk):
    limit = trunk.codec.max_tokens
    long = "a b " * limit
    pairs = ((long, "7 + 5"), ("a", long), ("a", "7 + 5"))
    rows = [Response(prompt=Prompt.of(ask), text=text) for ask, text in pairs]
    encoded = trunk.codec.encode(rows)
    assert [len(e.ids) <= limit for e in encoded] == [True] * 3
    kept, short = encoded[0], encoded[2]
    assert kept.ids[kept.start : kept.stop] == short.ids[short.start : short.stop]
    assert len(kept.ids) == limit and kept.ids[0] == short.ids[0]
    readings = trunk.read(rows)
    assert readings.truncated.tolist() == [False, True, False]
    assert readings.prompt_cut.tolist() == [True, True, False]


def test_fingerprint_is_of_the_content(chat, chat_folder, tmp_path):
    moved = tmp_path / "moved"
    shutil.copytree(chat_folder, moved)
    assert Trunk.load(moved).fingerprint() == chat.fingerprint()
    other = Trunk.load(make_chat_model(tmp_path / "other", seed=1))
    assert other.fingerprint() != chat.fingerprint()
    chat.read([Response(prompt=Prompt.of("a"), text="b")])
    assert chat.verify_frozen() == chat.fingerprint()
    with torch.no_grad():
        chat.model.model.norm.weight[0] += 1e-3
    with pytest.raises(InvalidExperiment, match="trunk must stay"):
        chat.verify_frozen()
    with pytest.raises(DataError, match="at least one response"):
        chat.read([])


BROKEN = {
    "nowhere": ["*"],
    "no tokenizer": ["tokenizer*", "chat_template.jinja"],
    "no config": ["config.json"],
    "no weights": ["model.safetensors"],
    "torn weights": [],
    "a weight missing": [],
    "encoder-decoder": ["config.json"],
    "nobody/no-such-model": [],
    "a/b/c": [],
    "~/nowhere": [],
}


@pytest.mark.parametrize("how", BROKEN)
def test_broken_folders_are_refused_in_one_line(chat_folder, tmp_path, how):
    folder = tmp_path / "broken"
    shutil.copytree(chat_folder, folder, ignore=shutil.ignore_patterns(*BROKEN[how]))
    weights = folder / "model.safetensors"
    if how == "torn weights":
        weights.write_bytes(weights.read_bytes()[: weights.stat().st_size // 2])
    elif how == "a weight missing":
        tensors = load_file(weights)
        tensors.pop("model.layers.1.mlp.up_proj.weight")
        save_file(tensors, weights, metadata={"format": "pt"})
    elif how == "encoder-decoder":
        T5Config(architectures=["T5ForConditionalGeneration"]).save_pretrained(folder)
    with pytest.raises(SetupError) as refusal:
        Trunk.load(how if "/" in how else folder)
    assert "\n" not in str(refusal.value) and len(str(refusal.value)) < 500
    assert how != "encoder-decoder" or how in str(refusal.value)


def test_gguf_files_that_cannot_be_read_are_refused_in_one_line(tmp_path, monkeypatch):
    for name in ("a.gguf", "b.gguf"):
        (tmp_path / name).write_bytes(b"GGUF")
    with pytest.raises(SetupError, match="one GGUF file"):
        Trunk.load(tmp_path)
    with pytest.raises(SetupError, match="must load as a Hugging Face model"):
        Trunk.load(tmp_path / "a.gguf")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(SetupError, match="pip install"):
        Trunk.load(tmp_path / "b.gguf")


def test_dialogues_without_a_template_are_spoken(stories):
    turns = (Message("user", "Hi."), Message("assistant", "Yes?"), Message("user", "Go."))
    ids, start = tokenize(stories, Prompt(messages=turns), "No.")
    text = stories.codec.tokenizer.decode(ids, skip_special_tokens=True)
    assert text == "\n\nHuman: Hi.\n\nAssistant: Yes?\n\nHuman: Go.\n\nAssistant: No."
    assert stories.codec.tokenizer.decode(ids[start:]).strip() == "No."
