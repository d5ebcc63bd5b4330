"""The web port: is this process alive, could it do its work now, and what has been done?"""

from __future__ import annotations

import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio
from hypercorn.config import Config
from hypercorn.trio import serve
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from durproxy.bus import LocalBus
from durproxy.child import announce_ready
from durproxy.config import Settings
from durproxy.web.health import look
from durproxy.web.metrics import exposition
from durproxy.web.queue import Queue


def make_app(settings: Settings, bus: LocalBus) -> Starlette:
    """The routes; nothing here is needed for the proxies and engines to work."""

    queue = Queue(settings)

    async def healthz(request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def readyz(request: Request) -> Response:
        readiness = await look(settings)
        return JSONResponse(readiness.as_json(), status_code=200 if readiness.ready else 503)

    async def metrics(request: Request) -> Response:
        return Response(
            exposition(await bus.ask_reports(), await queue.read()),
            headers={"Content-Type": CONTENT_TYPE_LATEST},
        )

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        announce_ready()
        yield

    routes = [Route("/healthz", healthz), Route("/readyz", readyz), Route("/metrics", metrics)]
    return Starlette(routes=routes, lifespan=lifespan)


def run(settings: Settings, listener: socket.socket) -> int:
    """Serve the web port until SIGTERM; the exit code."""
    config = Config()
    config.bind = [f"fd://{listener.detach()}"]
    config.errorlog = None
    config.graceful_timeout = 1.0
    with LocalBus(settings.runtime_dir, "web-0") as bus:
        trio.run(_serve, make_app(settings, bus), config)
    return 0


async def _serve(app: Starlette, config: Config) -> None:
    with trio.open_signal_receiver(signal.SIGTERM) as signals:

        async def told_to_stop() -> None:
            await anext(signals)

        await serve(app, config, shutdown_trigger=told_to_stop)  # type: ignore[arg-type]
