"""Runs the application until it is told to stop, and finishes what was accepted.

SIGINT and SIGTERM end the listening; requests in the works are answered, then the scoring thread
stops. A second SIGINT does not wait for them.
"""

from __future__ import annotations

import contextlib
import ctypes
import socket

import uvicorn
from fastapi import FastAPI

from trueline.errors import SetupError

__all__ = ["bind", "keep_memory", "listen"]

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""Of glibc's mallopt(3)."""


def bind(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes a free one."""
    if not 0 <= port < 65_536:
        raise SetupError("--port must be one of 0..65535", got=str(port))
    try:
        return socket.create_server(
            (host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET, backlog=2048
        )
    except OSError as error:
        raise SetupError(
            "host and port must be free to listen on",
            got=f"{host}:{port} ({error})",
            do="pass another --port",
        ) from None


def keep_memory() -> None:
    """Let the process keep the memory of one batch for the next.

    Off the main thread glibc gives it back after each batch and asks for it again, which took a
    tenth of the scoring time (docs/log.md). Without glibc nothing is changed.
    """
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_TRIM_THRESHOLD, 2**30)
        mallopt(_MMAP_THRESHOLD, 2**30)


def listen(app: FastAPI, place: socket.socket) -> None:
    """Serve until a signal comes."""
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,  # its lines would hold ?token=
        server_header=False,
        ws="none",
        timeout_keep_alive=75,
    )
    with contextlib.suppress(KeyboardInterrupt):  # uvicorn raises it again when all is done
        uvicorn.Server(config).run(sockets=[place])
