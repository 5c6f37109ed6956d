"""`trueline serve`: a saved reward as an HTTP server for trainers written by others."""

from __future__ import annotations

import math
import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from rich.console import Console

from trueline.cli.common import Place
from trueline.errors import InputError, SetupError
from trueline.progress import hush

__all__ = ["ServeVerb"]


@dataclass(frozen=True, kw_only=True)
class ServeVerb(Place):
    """Serve a saved reward to OpenRLHF, verl, slime and anything that speaks JSON over HTTP.

    trueline serve rewards/helpful --port 8700 --use lower

    curl --json '{"prompt": "2 + 2", "response": "4"}' 'http://127.0.0.1:8700/score?token=…'

    /docs shows every form. Give OpenRLHF --remote_rm_url 'http://127.0.0.1:8700/openrlhf?token=…',
    slime --rm-url 'http://127.0.0.1:8700/slime?token=…', and verl the address for /classify. Ctrl-C
    finishes what was accepted and stops.
    """

    reward: tyro.conf.Positional[Path]
    """Reward folder, as `trueline fit` wrote it."""
    model: str | None = None
    """The trunk, if it has moved since the fit."""
    host: str = "127.0.0.1"
    """Where to listen; anything but loopback needs a token."""
    port: int = 8700
    """0 takes a free one."""
    use: Literal["mean", "lower"] = "lower"
    """The number that formats of one number give."""
    unscored: Literal["refuse"] | float = "refuse"
    """What those formats give for an unscored row: an error (422), or this number."""
    no_token: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Ask for no token (loopback only). Otherwise it is $TRUELINE_TOKEN, or drawn and printed."""

    def execute(self, console: Console) -> dict[str, Any]:
        """Serve until a signal comes; return what was done."""
        try:
            from trueline.serving import app
            from trueline.serving.formats import Splitter
        except ImportError as error:
            raise SetupError(
                "serving needs FastAPI and uvicorn",
                got=str(error),
                do="pip install 'trueline[serve]'",
            ) from None
        if self.no_token and self.host not in app.LOOPBACK:
            raise InputError(
                "a server that others can reach must have a token",
                got=f"--no-token with --host {self.host}",
                do="leave --no-token out",
            )
        unscored = None if self.unscored == "refuse" else self.unscored
        if not math.isfinite(unscored or 0.0):
            raise InputError("--unscored must be finite", got=str(unscored))
        place = app.bind(self.host, self.port)
        trunk, reward = self.session(console).reward(self.reward, self.model)
        named = os.environ.get("TRUELINE_TOKEN")
        service = app.Service(
            scorer=reward.on(trunk),
            splitter=Splitter(trunk.codec),
            use=self.use,
            unscored=unscored,
            token=None if self.no_token else named or secrets.token_urlsafe(16),
            about={
                "name": self.reward.resolve().name,
                "fingerprint": trunk.fingerprint(),
                "reward": reward.summary(),
                "warning": reward.metadata.get("warning"),
            },
        )
        service.batcher.probe()
        name = f"[{self.host}]" if ":" in self.host else self.host
        address = f"http://{name}:{place.getsockname()[1]}"
        # A token of the operator's own is not shown.
        drawn = service.token and not named
        said = Console(stderr=True, soft_wrap=True, highlight=False, markup=False)
        said.print(f"listening on {address}/" + (f"?token={service.token}" if drawn else ""))
        hush()
        app.listen(service, place)
        done = {k: v for k, v in service.health().items() if k not in ("ready", "queued")}
        console.print(f"stopped: {done['scored']} items scored")
        return {**done, "address": address}
