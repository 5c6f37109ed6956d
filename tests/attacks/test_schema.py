"""Requests made from the server's own OpenAPI page, right and wrong: no 5xx, and every reply is of
a kind that the page tells of."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import schemathesis
from hypothesis import given, settings

from tests.serving.conftest import live, reward  # noqa: F401
from trueline.serving.app import REFUSALS

TOKEN = "s3cret"


@pytest.fixture
def described(live: Any) -> Any:  # noqa: F811
    live.service.token = TOKEN
    return schemathesis.openapi.from_url(f"http://127.0.0.1:{live.port}/openapi.json")


@pytest.mark.parametrize("mode", ["POSITIVE", "NEGATIVE"])
def test_every_reply_is_one_that_the_page_tells_of(described: Any, mode: str) -> None:
    codes = Counter[int]()

    @given(described.as_strategy(generation_mode=schemathesis.GenerationMode[mode]))
    @settings(max_examples=200, deadline=None, derandomize=True, database=None)
    def ask(case: Any) -> None:
        reply = case.call(headers={"Authorization": f"Bearer {TOKEN}"})
        codes[reply.status_code] += 1
        case.validate_response(
            reply,
            checks=[
                schemathesis.checks.not_a_server_error,
                schemathesis.checks.status_code_conformance,
                schemathesis.checks.content_type_conformance,
                schemathesis.checks.response_schema_conformance,
            ],
        )

    ask()
    assert {200, 422} <= set(codes), codes


def test_the_page_tells_of_every_refusal(described: Any) -> None:
    for path in described.raw_schema["paths"].values():
        for operation in path.values():
            assert {str(code) for code in REFUSALS} <= set(operation["responses"])
