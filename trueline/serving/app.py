"""Serve a reward over HTTP: one scorer, four formats, FastAPI's own documentation at /docs.

    /score     everything: mean, std, lower, novelty, rater_interval, outcome, reason, and whether
               answer or prompt was too long to be read whole (answer_cut, prompt_cut)
    /openrlhf  {"query", "prompts", "labels"} -> {"rewards", "scores", "extra_logs"}
    /classify  {"input", "use_activation"} -> data[i].probs, as vLLM, for verl
    /slime     {"prompt", "response", "label"} -> a number
    /health    whether it is ready (503 if not), what it serves, how much it has done

Whatever a client sends, the answer is one line with a 4xx code or a score: 429 where the queue is
full; 503 only where the scorer is broken, the server closing or full, or `timeout_s` over. Who owes
a part of a request for `ARRIVAL_S` (twice that on a connection in use) is hung up on. A token
is asked for as `Authorization: Bearer` or, of trainers that can be given a URL and nothing else, as
`?token=`. Without one only loopback names are served, so that no web page can reach the server by a
name of its own. In formats of one number an unscored row is refused or given the operator's number;
/classify applies vLLM's sigmoid unless `use_activation` is false.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import secrets
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import h11
import uvicorn
from fastapi import APIRouter, Depends, FastAPI, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import BaseModel
from scipy.special import expit
from uvicorn.protocols.http.h11_impl import H11Protocol

from trueline.errors import InputError, SetupError
from trueline.protocols import Scorer
from trueline.records import Outcome, Score
from trueline.serving.batcher import Batcher, QueueFull, ScorerBroken, ServedScore
from trueline.serving.formats import (
    ClassifyRequest,
    OpenRLHFRequest,
    ScoreRequest,
    SlimeRequest,
    Splitter,
)

__all__ = ["LOOPBACK", "Service", "bind", "configure", "create_app", "listen"]

_Bearer = HTTPAuthorizationCredentials | None
LOOPBACK = ("127.0.0.1", "localhost", "::1")
_LOOPBACK_HOST = re.compile(r"(127\.0\.0\.1|localhost|\[::1\])(:\d{1,5})?", re.ASCII)
CONNECTIONS = 512
"""Most open connections; one more takes the place of an idle one, or is answered 503."""
ARRIVAL_S = 15.0
"""Seconds that a request may take to arrive."""


@dataclass(kw_only=True)
class Service:
    """What is served, and how: everything an app needs."""

    scorer: Scorer
    splitter: Splitter
    use: Literal["mean", "lower"] = "lower"
    """The number that stands for a row in formats that hold one."""
    unscored: float | None = None
    """What stands for an unscored row there; None: such a request is refused (422)."""
    token: str | None = None
    about: dict[str, Any] = field(default_factory=dict)
    """The reward's name, its trunk and its metadata, for /health."""
    body_bytes: int = 8_388_608
    """Largest body of a request."""
    items: int = 1_024
    """Most items of a request."""
    chars: int = 200_000
    """Most characters of one item."""
    queue: int = 16_384
    """Most items waiting; beyond it clients are told to come again (429)."""
    timeout_s: float = 170.0
    """Longest time that one request may take; OpenRLHF gives up after 180."""

    def __post_init__(self) -> None:
        self.batcher = Batcher(self.scorer, max_queue=self.queue)

    def health(self) -> dict[str, Any]:
        """Return whether it is ready and what it has done."""
        return {
            "ready": self.batcher.alive and self.batcher.trouble is None,
            "trouble": self.batcher.trouble,
            "use": self.use,
            **self.about,
            "queued": self.batcher.queued,
            "scored": self.batcher.scored,
            "unscored": self.batcher.unscored,
        }

    async def rows(
        self, asked: ClassifyRequest | OpenRLHFRequest | ScoreRequest | SlimeRequest
    ) -> list[ServedScore]:
        """Return the scores of a request's items, within the limits."""
        items = asked.items(self.splitter)
        sizes = [len(r) + sum(len(turn.content) for turn in p.messages) for p, r in items]
        longest = max(sizes, default=0)
        if len(items) > self.items or longest > self.chars:
            most = f"{self.items} items of {self.chars} characters"
            got = f"{len(items)} items of at most {longest}"
            raise HTTPException(413, f"a request must have at most {most}; got {got}")
        return await self.batcher.score(items)

    def number(self, row: Score) -> float:
        """Return the row's one number; `InputError` where there is none."""
        value: float | None = getattr(row, self.use)
        value = self.unscored if value is None else value
        if value is None:
            raise InputError(
                "this format holds numbers only, so every row must be scored",
                got=f"an unscored row ({row.reason})",
                do="use /score, or start the server with --unscored NUMBER",
            )
        return value

    async def authorised(
        self,
        request: Request,
        bearer: Annotated[_Bearer, Depends(HTTPBearer(auto_error=False))],
        token: str = "",
    ) -> None:
        """Refuse a request without the token or, where there is none, by a name that others own."""
        host = request.headers.get("host", "")
        if self.token is None and not _LOOPBACK_HOST.fullmatch(host):
            raise HTTPException(400, f"without a token the host must be one of {LOOPBACK}")
        given = token if bearer is None else bearer.credentials
        if self.token is None or secrets.compare_digest(given.encode(), self.token.encode()):
            return
        line = "a request must carry the token: Authorization: Bearer ..., or ?token=..."
        raise HTTPException(401, line, {"WWW-Authenticate": "Bearer"})


def create_app(service: Service) -> FastAPI:
    """Return the ASGI application."""

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with service.batcher.running():
            yield

    app = FastAPI(
        title="Trueline reward server",
        description=(__doc__ or "").split("\n\n", 1)[-1],
        lifespan=lifespan,
        max_body_size=service.body_bytes,
        redoc_url=None,
    )
    app.include_router(_routes(service), dependencies=[Depends(service.authorised)])
    for kind in (InputError, QueueFull, ScorerBroken, RequestValidationError):
        app.add_exception_handler(kind, _refuse)
    app.add_middleware(RequestTimeout, timeout_s=service.timeout_s)
    return app


class Refusal(BaseModel):
    """Why a request was refused, in one line."""

    detail: str


REFUSALS = {
    400: "The host is not one that may be asked for without a token, or the body is no JSON.",
    401: "The token is missing or another.",
    413: "The body, the number of items or one of them is larger than allowed.",
    422: "The request's form is not the one shown, or a row has no number.",
    429: "The queue is full: come again.",
    503: "The scorer is broken, the server is full or closing, or time is over.",
}


def _routes(service: Service) -> APIRouter:
    router = APIRouter(
        responses={code: {"model": Refusal, "description": why} for code, why in REFUSALS.items()}
    )

    @router.post("/score")
    async def score(asked: ScoreRequest) -> dict[str, list[ServedScore]]:
        """Say everything that is known of each response, null where it is unscored."""
        return {"rows": await service.rows(asked)}

    @router.post("/openrlhf")
    async def openrlhf(asked: OpenRLHFRequest) -> dict[str, Any]:
        """Answer as OpenRLHF's remote reward model: to train on, to filter by, to log."""
        rows = await service.rows(asked)
        numbers = [service.number(row) for row in rows]
        logs = {"unscored": [float(row.outcome is Outcome.UNSCORED) for row in rows]}
        # OpenRLHF needs the same columns in every reply.
        for name in ("answer_cut", "prompt_cut"):
            if rows and getattr(rows[0], name) is not None:
                logs[name] = [float(getattr(row, name) or False) for row in rows]
        if service.unscored is None:
            names = ("mean", "std", "novelty")
            logs |= {name: [getattr(row, name) for row in rows] for name in names}
        return {"rewards": numbers, "scores": numbers, "extra_logs": logs}

    @router.post("/classify")
    async def classify(asked: ClassifyRequest) -> dict[str, Any]:
        """Answer what verl reads of vLLM's classification of one-label models."""
        rows = await service.rows(asked)
        numbers = [service.number(row) for row in rows]
        if asked.use_activation is not False:
            numbers = [float(expit(x)) for x in numbers]
        cuts = ({"answer_cut": row.answer_cut, "prompt_cut": row.prompt_cut} for row in rows)
        told = enumerate(zip(numbers, cuts, strict=True))
        return {"data": [{"index": i, "probs": [x], **cut} for i, (x, cut) in told]}

    @router.post("/slime")
    async def slime(asked: SlimeRequest) -> float | list[float]:
        """Answer as slime's remote reward model: one number, or one a response of a list."""
        numbers = [service.number(row) for row in await service.rows(asked)]
        return numbers if isinstance(asked.response, list) else numbers[0]

    @router.get("/health")
    async def health(response: Response) -> dict[str, Any]:
        """Say whether it is ready (503 if not), what it serves, how much it has done."""
        facts = service.health()
        response.status_code = 200 if facts["ready"] else 503
        return facts

    return router


def _refuse(_: Request, error: Exception) -> Response:
    """Answer a request that cannot be answered: one line."""
    line, status, headers = str(error), 422, {}
    if isinstance(error, QueueFull):
        status, headers = 429, {"Retry-After": "1"}
    elif isinstance(error, ScorerBroken):
        status = 503
    elif isinstance(error, RequestValidationError):
        first = error.errors()[0]
        where = ".".join(str(part)[:40] for part in first["loc"][:4])
        line = f"{where}: {first['msg'][:200]}"
    # A name in a body may hold what UTF-8 cannot say.
    detail = line.encode("utf-8", "replace").decode()
    return JSONResponse({"detail": detail}, status, headers)


class RequestTimeout:
    """Ends a request that takes too long, be it to arrive or to be scored (503)."""

    def __init__(self, app: Any, timeout_s: float) -> None:
        self.app, self.timeout_s = app, timeout_s

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            async with asyncio.timeout(self.timeout_s if scope["type"] == "http" else None):
                await self.app(scope, receive, send)
        except TimeoutError:
            line = f"a request must be answered within {self.timeout_s:g} s: overloaded"
            await JSONResponse({"detail": line}, 503)(scope, receive, send)


class TimedConnection(H11Protocol):
    """HTTP on a connection that is closed where a request does not arrive whole in time, or where
    all are taken and another client comes."""

    _seen: Any = None

    @property
    def owes(self) -> bool:
        """Whether the client has begun a request, or none yet, and must send more."""
        begun = self.cycle is None or (self.conn.trailing_data[0] and self.cycle.response_complete)
        return bool(begun or self.conn.their_state is h11.SEND_BODY)

    def connection_made(self, transport: Any) -> None:
        """Make room if there is none, and begin to look at the watch."""
        connections: Any = self.connections
        slow = (other for other in connections if other.owes or other.cycle.response_complete)
        if len(self.connections) >= CONNECTIONS and (other := next(slow, None)):
            self.connections.discard(other)
            other.transport.abort()
        super().connection_made(transport)
        self.loop.call_later(ARRIVAL_S, self._look)

    def _look(self) -> None:
        if self.owes and self.cycle is self._seen:
            self.transport.close()
        if not self.transport.is_closing():
            self._seen = self.cycle
            self.loop.call_later(ARRIVAL_S, self._look)


def bind(host: str, port: int) -> socket.socket:
    """Return a listening socket; port 0 takes a free one. `SetupError` where it is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=2048)
    except (OSError, OverflowError) as error:
        raise SetupError(
            "host and port must be ones that are free to listen on",
            got=f"{host}:{port} ({error})",
            do="pass another --port",
        ) from None


def configure(service: Service, *, log_level: str = "warning") -> uvicorn.Config:
    """Return how the app is served: what a connection may cost."""
    return uvicorn.Config(
        create_app(service),
        http=TimedConnection,
        log_level=log_level,
        access_log=False,  # its lines would hold ?token=
        server_header=False,
        ws="none",
        limit_concurrency=CONNECTIONS + 1,
        timeout_keep_alive=75,
    )


def listen(service: Service, place: socket.socket) -> None:
    """Serve until SIGINT or SIGTERM; requests in the works are answered first."""
    with contextlib.suppress(KeyboardInterrupt):  # uvicorn raises it again when all is done
        uvicorn.Server(configure(service)).run(sockets=[place])
