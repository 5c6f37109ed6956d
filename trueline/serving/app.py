"""The reward server: one scorer, four formats, a page for people.

    /score     everything: mean, std, lower, novelty, interval, outcome, reason
    /openrlhf  (/get_reward)  {"query", "prompts", "labels"} → {"rewards", "scores", "extra_logs"}
    /classify  {"model", "input", "use_activation"} → data[i].probs, as vLLM, for verl
    /slime     {"prompt", "response", "label"} → a number; with ?reply=object an object
    /  /health  /metrics  /openapi.json

Whatever a client sends, the answer is one line with a 4xx code or a score. 503 is said only where
the scorer itself is broken, the server is closing, or `timeout_s` is over; 429 where the queue is
full. With a token every request must carry it, as `Authorization: Bearer` or, for trainers that can
be given a URL and nothing else, as `?token=`. Without one only loopback names are served, so that
no web page can reach the server by a name of its own.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from fastapi import FastAPI, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse
from pydantic import BaseModel, ValidationError
from starlette.datastructures import Headers, QueryParams
from starlette.requests import ClientDisconnect

from trueline.errors import InputError
from trueline.protocols import Scorer
from trueline.serving.batcher import Batcher, Item, QueueFull, ScorerBroken
from trueline.serving.dialogue import Splitter
from trueline.serving.formats import (
    ClassifyReply,
    ClassifyRequest,
    OpenRLHFReply,
    OpenRLHFRequest,
    Policy,
    Problem,
    ScoreReply,
    ScoreRequest,
    SlimeReply,
    SlimeRequest,
    lengths,
)
from trueline.serving.page import page

__all__ = ["Limits", "Service", "create_app"]

LOOPBACK = ("127.0.0.1", "localhost", "::1")
Asked = TypeVar("Asked", ScoreRequest, OpenRLHFRequest, ClassifyRequest, SlimeRequest)
Message = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What one request may ask for, and how much may wait."""

    body_bytes: int = 8_388_608
    """Largest body of a request."""
    items: int = 1_024
    """Most items of a request."""
    chars: int = 200_000
    """Most characters of one text."""
    queue: int = 16_384
    """Most items waiting; beyond it clients are told to come again (429)."""
    timeout_s: float = 170.0
    """Longest wait for an answer; OpenRLHF gives up after 180."""


@dataclass(kw_only=True)
class Service:
    """What is served, and how: everything an app needs."""

    scorer: Scorer
    policy: Policy
    splitter: Splitter
    limits: Limits = field(default_factory=Limits)
    token: str | None = None
    about: dict[str, Any] = field(default_factory=dict)
    """The reward's name, its trunk and its card, for the health page."""
    answers: Counter[tuple[str, int]] = field(default_factory=Counter)
    """Requests answered, by path and status."""
    started: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self.batcher = Batcher(self.scorer, max_queue=self.limits.queue)
        # A card may hold infinities (an interval without an end), which JSON has not.
        about = json.dumps(self.about, default=str)
        self.about = json.loads(about, parse_constant=lambda _: None)

    def health(self) -> dict[str, Any]:
        """How it goes."""
        stats = self.batcher.stats
        return {
            "ready": self.batcher.alive and stats.trouble is None,
            "trouble": stats.trouble,
            "use": self.policy.use,
            "unscored": "refuse" if self.policy.unscored is None else self.policy.unscored,
            **self.about,
            "queued": self.batcher.queued,
            "scored": stats.scored,
            "unscored_items": stats.unscored,
            "failed": stats.failed,
            "batches": stats.batches,
            "busy_s": round(stats.busy_s, 3),
            "uptime_s": round(time.monotonic() - self.started, 1),
            "answers": {f"{path} {code}": n for (path, code), n in sorted(self.answers.items())},
        }


class Refusal(Exception):
    """A request that is not answered: status, one line, headers."""

    def __init__(self, status: int, line: str, **headers: str) -> None:
        super().__init__(line)
        self.status, self.headers = status, headers


def _refuse(_: Request | None, error: Exception) -> Response:
    """The answer to a request that is not answered."""
    headers: dict[str, str] = {}
    if isinstance(error, Refusal):
        status, headers = error.status, error.headers
    elif isinstance(error, QueueFull):
        status, headers = 429, {"Retry-After": str(error.retry_s)}
    else:
        status = 503 if isinstance(error, ScorerBroken) else 422
    return JSONResponse({"detail": _clean(str(error))}, status, headers)


def create_app(service: Service) -> FastAPI:
    """The ASGI application."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await asyncio.to_thread(service.batcher.start)
        yield
        await asyncio.to_thread(service.batcher.close)

    app = FastAPI(
        title="Trueline reward server",
        description=(__doc__ or "").split("\n\n")[-1],
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
        responses={code: {"model": Problem} for code in (400, 401, 413, 415, 422, 429, 503)},
    )
    for kind in (Refusal, InputError, QueueFull, ScorerBroken):
        app.add_exception_handler(kind, _refuse)
    app.add_exception_handler(ClientDisconnect, lambda *_: Response(status_code=400))
    _formats(app, service)
    _pages(app, service)
    app.add_middleware(Guard, service=service)
    return app


def _formats(app: FastAPI, service: Service) -> None:
    """The routes that score."""

    def route(path: str, asked: type[BaseModel], **more: Any) -> Callable[..., Any]:
        schema = asked.model_json_schema(ref_template="#/components/schemas/{model}")
        definitions.update(schema.pop("$defs", {}), **{asked.__name__: schema})
        content = {"schema": {"$ref": f"#/components/schemas/{asked.__name__}"}}
        body = {"required": True, "content": {"application/json": content}}
        return app.post(path, openapi_extra={"requestBody": body}, **more)

    definitions: dict[str, Any] = {}

    @route("/score", ScoreRequest, response_model=ScoreReply)
    async def score(request: Request) -> Response:
        """Prompts and responses apart; everything that is known of each."""
        asked = await _read(request, ScoreRequest, service.limits)
        return _json(ScoreReply.of(await _rows(service, asked)))

    @route("/get_reward", OpenRLHFRequest, response_model=OpenRLHFReply, include_in_schema=False)
    @route("/openrlhf", OpenRLHFRequest, response_model=OpenRLHFReply)
    async def openrlhf(request: Request) -> Response:
        """OpenRLHF's remote reward model."""
        asked = await _read(request, OpenRLHFRequest, service.limits)
        return _json(OpenRLHFReply.of(await _rows(service, asked), service.policy))

    @route("/classify", ClassifyRequest, response_model=ClassifyReply)
    async def classify(request: Request) -> Response:
        """vLLM's classification of one-label models, as verl asks for it."""
        asked = await _read(request, ClassifyRequest, service.limits)
        return _json(ClassifyReply.of(await _rows(service, asked), service.policy, asked))

    @route("/slime", SlimeRequest, response_model=float | SlimeReply)
    async def slime(request: Request, reply: str = "number") -> Response:
        """slime's remote reward model: a number, or with ?reply=object an object."""
        if reply not in ("number", "object"):
            raise Refusal(422, f"reply must be number or object; got {reply[:40]!r}")
        asked = await _read(request, SlimeRequest, service.limits)
        (row,) = await _rows(service, asked)
        return _json(SlimeReply.of(row, service.policy, whole=reply == "object"))

    plain = app.openapi

    def described() -> dict[str, Any]:
        whole = plain()
        whole["components"]["schemas"].update(definitions)
        return whole

    app.openapi = described  # type: ignore[method-assign]


def _pages(app: FastAPI, service: Service) -> None:
    """The routes that tell how it goes."""

    @app.get("/health")
    async def health(response: Response) -> dict[str, Any]:
        """Whether it is ready (503 if not), what it serves, how much it has done."""
        now = service.health()
        response.status_code = 200 if now["ready"] else 503
        return now

    @app.get("/", response_class=HTMLResponse, include_in_schema=False)
    async def people() -> str:
        return page(service.health(), service.limits)

    @app.get("/metrics", response_class=PlainTextResponse)
    async def metrics() -> str:
        """Counts in Prometheus' text format."""
        now = service.health()
        names = ("queued", "scored", "unscored_items", "failed", "batches", "busy_s", "uptime_s")
        lines = [f"trueline_{name} {now[name]}" for name in names]
        lines += [f"trueline_ready {int(now['ready'])}"]
        lines += [
            f'trueline_answers{{path="{path}",code="{code}"}} {n}'
            for (path, code), n in sorted(service.answers.items())
        ]
        return "\n".join(lines) + "\n"


async def _read(request: Request, model: type[Asked], limits: Limits) -> Asked:
    """The body, within the limits, as what it must be."""
    kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if kind != "application/json":
        raise Refusal(415, f"the content type must be application/json; got {kind[:60]!r}")
    length = request.headers.get("content-length", "0")
    body, too_large = bytearray(), f"a body must have at most {limits.body_bytes} bytes"
    if length.isdecimal() and int(length[:20]) > limits.body_bytes:
        raise Refusal(413, f"{too_large}; got {length[:20]}", Connection="close")
    try:
        async with asyncio.timeout(limits.timeout_s):
            async for chunk in request.stream():
                body += chunk
                if len(body) > limits.body_bytes:
                    raise Refusal(413, f"{too_large}; got more", Connection="close")
    except TimeoutError:
        raise Refusal(408, f"a body must arrive within {limits.timeout_s:g} s") from None
    try:
        asked = model.model_validate_json(bytes(body))
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(str(part)[:40] for part in first["loc"][:4]) or "the body"
        raise Refusal(422, f"{where}: {first['msg'][:200]}; send {model.shape}") from None
    rows, longest = lengths(asked)
    if rows > limits.items:
        raise Refusal(413, f"a request must have at most {limits.items} items; got {rows}")
    if longest > limits.chars:
        raise Refusal(413, f"a text must have at most {limits.chars} characters; got {longest}")
    return asked


async def _rows(service: Service, asked: BaseModel) -> Any:
    """The scores of a request's items."""
    items: list[Item] = asked.items(service.splitter)  # type: ignore[attr-defined]
    timeout_s = service.limits.timeout_s
    try:
        async with asyncio.timeout(timeout_s):
            return await service.batcher.score(items)
    except TimeoutError:
        raise Refusal(503, f"no score within {timeout_s:g} s: overloaded") from None


def _json(value: Any) -> Response:
    # Not JSONResponse: what the models describe is built here, and checked by the tests.
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return Response(_clean(text), media_type="application/json")


def _clean(text: str) -> str:
    """Text that UTF-8 can say."""
    return text.encode("utf-8", "replace").decode()


class Guard:
    """Asks for the token, or without one for a loopback name; counts the answers."""

    def __init__(self, app: Any, service: Service) -> None:
        self.app, self.service = app, service

    async def __call__(self, scope: Message, receive: Any, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def counting(message: Message) -> None:
            if message["type"] == "http.response.start":
                known = message["status"] not in (401, 403, 404, 405)
                path = scope["path"] if known else "other"
                self.service.answers[path, message["status"]] += 1
            await send(message)

        refusal = self._refusal(scope)
        await (_refuse(None, refusal) if refusal else self.app)(scope, receive, counting)

    def _refusal(self, scope: Message) -> Refusal | None:
        headers, token = Headers(scope=scope), self.service.token
        if token is None:
            host = headers.get("host", "").lower()
            name = host[1:].split("]")[0] if host.startswith("[") else host.split(":")[0]
            if name in LOOPBACK:
                return None
            return Refusal(403, "a server without a token answers to loopback names only")
        given = headers.get("authorization", "").removeprefix("Bearer ")
        given = given or QueryParams(scope.get("query_string", b"")).get("token", "")
        if secrets.compare_digest(given.encode(), token.encode()):
            return None
        line = "a request must carry the token: Authorization: Bearer …, or ?token=…"
        return Refusal(401, line, **{"WWW-Authenticate": "Bearer"})
