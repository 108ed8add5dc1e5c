"""The process that serves: uvicorn, which goes on answering for a moment after it was asked to end."""

from __future__ import annotations

import gc
import logging
import signal
import socket
import sys
import threading
from types import FrameType

import structlog
import uvicorn
from fastapi import FastAPI

from api.app import create_app
from service.settings import ServeSettings

_OBJECTS_BETWEEN_COLLECTIONS = 50_000
"""New objects after which the interpreter looks for cycles. With its default, 700, most of the time in which
a body of 5 MB becomes lists goes there."""


class DrainingServer(uvicorn.Server):
    """Between SIGTERM and the closing of the socket, requests that are on their way still get in.

    Uvicorn finishes the requests that it has begun to read; those that the kernel has accepted and it has not
    would be reset. Meanwhile /health/ready answers 503, so that a load balancer sends its requests elsewhere.
    """

    def __init__(self, config: uvicorn.Config, app: FastAPI, drain: float) -> None:
        super().__init__(config)
        self._app = app
        self._drain = drain

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and say where: with port 0 nobody else could."""
        await super().startup(sockets)
        for server in self.servers:
            for listening in server.sockets:
                structlog.get_logger().info("serving", url=_url(listening))

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """First SIGTERM: drain, then end. Anything else: at once."""
        service = self._app.state.service
        if sig != signal.SIGTERM or service.draining or not self._drain:
            super().handle_exit(sig, frame)
            return
        service.draining = True
        timer = threading.Timer(self._drain, super().handle_exit, (sig, frame))
        timer.daemon = True
        timer.start()


class _AsOurs(logging.Handler):
    """Lines of uvicorn, asyncio and the interpreter's warnings, in the form that ours have."""

    def emit(self, record: logging.LogRecord) -> None:
        """Log it once more."""
        structlog.get_logger().log(
            record.levelno, record.getMessage(), logger=record.name, exc_info=record.exc_info
        )


def _url(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def run(settings: ServeSettings, host: str, port: int) -> None:
    """Serve until a signal ends it."""
    gc.set_threshold(_OBJECTS_BETWEEN_COLLECTIONS)
    logging.captureWarnings(True)
    logging.basicConfig(handlers=[_AsOurs()], level=logging.WARNING, force=True)
    app = create_app(settings)
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        access_log=False,  # the service has its own, with request ids
        log_level="warning",
        log_config=None,  # its lines go where ours go
        timeout_graceful_shutdown=settings.shutdown_grace,
        # Longer than clients keep idle connections: they close them, and no request meets a closed one.
        timeout_keep_alive=75,
        server_header=False,
    )
    server = DrainingServer(config, app, settings.shutdown_drain)
    # When all is answered, uvicorn raises the signal again. By default that kills the process, which then
    # says that it has leaked what it shares with the processes of its pool.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    server.run()
    if not server.started:
        raise SystemExit(3)  # uvicorn has said why
