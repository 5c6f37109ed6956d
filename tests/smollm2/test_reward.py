"""A reward on a real chat model: read, fitted, exported, served."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from starlette.testclient import TestClient
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from trueline.plugs import export
from trueline.rewards.bayesian import Bayesian
from trueline.serving.app import Service, create_app
from trueline.serving.formats import Splitter


@pytest.fixture(scope="module")
def readings(trunk, pairs):
    return trunk.read([r for pair in pairs for r in (pair.chosen, pair.rejected)])


@pytest.fixture(scope="module")
def reward(readings, pairs):
    return Bayesian().fit(readings, pairs[:60], rng=np.random.default_rng(0))


def test_what_is_read_is_what_the_template_writes_and_a_plain_pass_yields(trunk, readings, pairs):
    said, close = pairs[0].chosen, 0.05
    turns = [{"role": "user", "content": said.prompt.text}]
    turns.append({"role": "assistant", "content": said.text})
    whole = trunk.codec.tokenizer.apply_chat_template(turns)["input_ids"]
    (row,) = trunk.codec.encode([said])
    assert row.ids == whole[: len(row.ids)] and row.ids[-1] == trunk.codec.end_id
    assert trunk.codec.tokenizer.decode(row.ids[row.start : row.stop - 1]) == said.text
    with torch.no_grad():
        out = trunk.model(torch.tensor([row.ids]), output_hidden_states=True)
    for layer, (hidden,) in zip(readings.latents[0], out.hidden_states, strict=True):
        plain = torch.stack([hidden[row.stop - 1], hidden[row.start :].float().mean(0)])
        assert float((torch.from_numpy(layer) - plain).norm() / plain.norm()) < close
    logps = out.logits[0].float().log_softmax(-1)[row.start - 1 : -1]
    expected = float(logps.gather(1, torch.tensor(row.ids[row.start :])[:, None]).sum())
    assert readings.logp[0] == pytest.approx(expected, rel=close)


def test_sixty_pairs_teach_it_manners(readings, reward, pairs):
    scores, at = reward.score(readings), readings.rows
    new = pairs[60:]
    won = [scores.mean[at([p.chosen.key])] > scores.mean[at([p.rejected.key])] for p in new]
    assert np.mean(won) >= 0.9


def test_exported_and_served_it_scores_the_same(trunk, reward, pairs, tmp_path):
    said = [r for pair in pairs[60:64] for r in (pair.chosen, pair.rejected)]
    ours = reward.on(trunk).score([r.prompt for r in said], [r.text for r in said]).mean
    export(reward, trunk, tmp_path / "out")
    given = {"trust_remote_code": True}
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out", **given)
    how = {"num_labels": 1, "dtype": "auto", **given}
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "out", **how)
    assert next(model.parameters()).dtype == torch.bfloat16
    texts = [
        tokenizer.apply_chat_template(
            [
                {"role": "user", "content": r.prompt.text},
                {"role": "assistant", "content": r.text},
            ],
            tokenize=False,
        )
        for r in said
    ]
    batch = tokenizer(texts, return_tensors="pt", padding=True, add_special_tokens=False)
    with torch.inference_mode():
        theirs = model(batch["input_ids"], batch["attention_mask"]).logits[:, 0].numpy()
    spread = np.std(ours)
    np.testing.assert_allclose(theirs, ours, atol=0.2 * spread)

    service = Service(scorer=reward.on(trunk), splitter=Splitter(trunk.codec), use="mean")
    with TestClient(create_app(service), base_url="http://localhost") as client:
        asked = {"prompts": [said[0].prompt.text], "responses": [said[0].text]}
        reply = client.post("/score", json=asked)
    assert reply.status_code == 200, reply.text
    assert reply.json()["rows"][0]["mean"] == pytest.approx(ours[0], abs=0.2 * spread)
