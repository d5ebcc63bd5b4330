"""The web port: is this process alive, and could it do its work now?"""

from __future__ import annotations

import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import psycopg
import trio
from hypercorn.config import Config
from hypercorn.trio import serve
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from durproxy.child import announce_ready
from durproxy.config import Settings
from durproxy.errors import DurproxyError
from durproxy.home import connect

_READY_TIMEOUT = 5.0  # seconds: a slower upstream is not ready


def make_app(settings: Settings) -> Starlette:
    """The routes; nothing here is needed for the proxies and engines to work."""

    async def healthz(request: Request) -> JSONResponse:
        return JSONResponse({"status": "ok"})

    async def readyz(request: Request) -> JSONResponse:
        problem: str | None = "the upstream does not answer in time"
        with trio.move_on_after(_READY_TIMEOUT):
            problem = await trio.to_thread.run_sync(_find_problem, settings, abandon_on_cancel=True)
        if problem is None:
            return JSONResponse({"status": "ready"})
        return JSONResponse({"status": "not ready", "problem": problem}, status_code=503)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        announce_ready()
        yield

    routes = [Route("/healthz", healthz), Route("/readyz", readyz)]
    return Starlette(routes=routes, lifespan=lifespan)


def run(settings: Settings, listener: socket.socket) -> int:
    """Serve the web port until SIGTERM; the exit code."""
    config = Config()
    config.bind = [f"fd://{listener.detach()}"]
    config.errorlog = None
    config.graceful_timeout = 1.0
    trio.run(_serve, make_app(settings), config)
    return 0


async def _serve(app: Starlette, config: Config) -> None:
    with trio.open_signal_receiver(signal.SIGTERM) as signals:

        async def told_to_stop() -> None:
            await anext(signals)

        await serve(app, config, shutdown_trigger=told_to_stop)  # type: ignore[arg-type]


def _find_problem(settings: Settings) -> str | None:
    """Why clients could not use the upstream now; None when they can."""
    try:
        with connect(settings.upstream) as connection:
            connection.execute("SELECT 1")
    except (DurproxyError, psycopg.Error) as error:
        return str(error)
    return None
