"""An engine samples what the policy would, or says why it cannot."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.policy import conftest as bandit
from trueline.errors import InvalidExperiment, SetupError
from trueline.models.adapters import BasePolicy, LoraPolicy
from trueline.models.endpoint import Endpoint
from trueline.models.engine import Engine, read_samples
from trueline.records import Prompt
from trueline.testing import ENGINE_FAULTS, FakeEngine

trunk, policy, prompts = bandit.trunk, bandit.policy, bandit.prompts


def engine(server: FakeEngine, *, folder: Path | None = None, **settings) -> Engine:
    quick = {"timeout_s": 20.0, "retries": 1, **settings}
    return Engine(endpoint=Endpoint(url=server.url, model="base", **quick), folder=folder)


def roll(sampler: Engine, policy: BasePolicy, prompts: list[Prompt], **how):
    usual = {"num_samples": 3, "max_new_tokens": 12, "rng": np.random.default_rng(5)}
    return sampler.rollouts(policy, prompts, **{**usual, **how})


def moved(policy: LoraPolicy, seed: int, *, by: float = 0.3) -> LoraPolicy:
    """A copy whose adapter says something else."""
    new, source = policy.copy(), torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in new.trainable():
            parameter += by * torch.randn(parameter.shape, generator=source)
    return new


def test_equal_weights_have_equal_log_probabilities(trunk, policy, prompts):
    prompts = prompts[:8]
    with FakeEngine(trunk) as server:
        sampler = engine(server)
        for said_by in (BasePolicy(trunk), policy, moved(policy, 1)):
            rolled = roll(sampler, said_by, prompts)
            assert len(rolled.flat) == 3 * len(prompts)
            own, mask = said_by.token_logps(rolled.rows, grad=False)
            np.testing.assert_allclose(np.concatenate(rolled.logps), own[mask], atol=1e-4)
            prefixes = trunk.codec.prompt_ids(prompts, room=12)
            for i, row in enumerate(rolled.rows):
                assert row.ids[: row.start] == prefixes[i // 3]
                assert (row.ids[-1] == trunk.codec.end_id) == rolled.ended[i]
                assert len(row.ids) - row.start == len(rolled.logps[i]) <= 12
        assert 0 < rolled.ended.mean() < 1


def test_a_request_names_the_weights_it_samples_from(trunk, policy, prompts, tmp_path):
    with FakeEngine(trunk) as server:
        sampler = engine(server, folder=tmp_path)
        first, second = moved(policy, 1), moved(policy, 2)
        for current in (first, first.copy(), second):
            roll(sampler, current, prompts[:2])
        kept = [name for name in server.policies if name != "base"]
        assert [path.name for path in tmp_path.iterdir()] == kept and len(kept) == 1
    loads, asks = ["/load_lora_adapter"], ["/completions"]
    paths = [path for path, _ in server.log]
    assert paths == [*loads, *asks * 4, *loads, "/unload_lora_adapter", *asks * 2]
    names = [name for _, name in server.log]
    assert len({*names[:5], names[6]}) == 1 and {*names[-2:], names[5]} == set(kept)


def test_greedy_samples_are_asked_for_once_and_are_all_alike(trunk, policy, prompts):
    with FakeEngine(trunk) as server:
        rolled = roll(engine(server), policy, prompts[:6], temperature=0.0)
    how = {"num_samples": 3, "rng": np.random.default_rng(0), "max_new_tokens": 12}
    alone = policy.rollouts(prompts[:6], temperature=0.0, **how)
    assert rolled.rows == alone.rows and [len(row) for row in rolled.responses] == [3] * 6


REFUSED = {
    "few choices": "2 samples of 3",
    "aborted": "no known form",
    "cut json": "not JSON",
    "html": "no known form",
    "stall": "no answer in time",
    "dropped": "connection broke",
    "429": "HTTP 429",
    "500": "HTTP 500",
    "no ids": "tokens it sampled",
    "raw logprobs": "processed_logprobs",
    "stale weights": "the policy's",
}


@pytest.mark.parametrize("fault", REFUSED)
def test_every_fault_is_an_error_that_names_it(trunk, policy, prompts, fault):
    wrong = fault in ("raw logprobs", "stale weights")
    error, words = InvalidExperiment if wrong else SetupError, REFUSED[fault]
    with FakeEngine(trunk, faults=[fault], share=1.0) as server:
        # Long enough for the adapter's load, which must succeed before samples can go wrong.
        sampler = engine(server, retries=0, timeout_s=2 if fault == "stall" else 20)
        with pytest.raises(error, match=words) as caught:
            roll(sampler, moved(policy, 1), prompts[:2], temperature=0.8)
        if fault == "stale weights":
            with pytest.raises(error, match=words):
                roll(sampler, moved(policy, 1), prompts[:2])
    assert "\n" not in str(caught.value)
    assert set(ENGINE_FAULTS) == set(REFUSED)


def test_neither_faults_that_pass_nor_the_order_of_arrival_change_a_sample(trunk, policy, prompts):
    passing = ["429", "500", "dropped", "cut json", "few choices", "aborted", "html"]
    with FakeEngine(trunk) as sound, FakeEngine(trunk, faults=passing, share=0.5) as server:
        whole = roll(engine(sound, concurrency=1), policy, prompts[:8])
        tried = roll(engine(server, retries=20), policy, prompts[:8])
        assert len(server.log) > len(sound.log)
    assert whole.rows == tried.rows
    assert len({tuple(row.ids) for row in whole.rows[:3]}) == 3


def choice(ids: object, logps: object, ended: object) -> dict:
    logprobs = {"token_logprobs": logps}
    return {"index": 0, "finish_reason": ended, "token_ids": ids, "logprobs": logprobs}


def test_an_engine_that_stops_elsewhere_is_refused():
    with pytest.raises(SetupError, match="stop token of the trunk"):
        read_samples({"choices": [choice([7], [-0.5], "stop")]}, 1, {2})


@given(data=st.data())
def test_no_answer_is_taken_that_is_not_whole(data):
    odd = st.none() | st.integers(-3, 9) | st.floats() | st.text(max_size=2)
    some = st.lists(odd, max_size=3)
    ended = data.draw(st.sampled_from(["stop", "length", "abort", None]))
    ids, logps = data.draw(st.none() | some), data.draw(st.none() | some)
    answer = {"choices": [choice(ids, logps, ended)]}
    try:
        samples = read_samples(answer, 1, {2})
    except (SetupError, ValueError):
        return
    for row in samples:
        assert all(type(i) is int and i >= 0 for i in row.ids)
        assert len(row.token_logps) == len(row.ids) + (row.end_id is not None) > 0
        assert np.isfinite(row.token_logps).all() and row.token_logps.max() < 1e-3


def test_a_wrong_set_up_is_refused_in_one_line(trunk, policy, prompts):
    with FakeEngine(trunk) as server:
        other = Engine(endpoint=Endpoint(url=server.url, model="other"))
        with pytest.raises(SetupError, match="HTTP 404"):
            roll(other, BasePolicy(trunk), prompts[:1])
        off = Endpoint(url=server.url + "/v1", model="base")
        with pytest.raises(SetupError, match="VLLM_ALLOW_RUNTIME_LORA_UPDATING"):
            roll(Engine(endpoint=off), policy, prompts[:1])
        gone = engine(server)
        roll(gone, policy, prompts[:1])
        server.policies.popitem()
        with pytest.raises(SetupError, match="does not exist"):
            roll(gone, policy, prompts[:1])
    assert roll(Engine(endpoint=off), policy, []).rows == []
