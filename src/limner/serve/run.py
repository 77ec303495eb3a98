"""A server that runs until it is told to end."""

import socket
from collections.abc import Awaitable, Callable

import uvicorn

from limner.errors import LimnerError
from limner.serve.app import create
from limner.serve.settings import Settings, check

CONNECTIONS = 1000
"""Connections at a time; who comes on top is told 503 by uvicorn itself."""


class _Uvicorn(uvicorn.Server):
    """Ends its jobs first: their streams of events would go on for ever."""

    ending: Callable[[], Awaitable[None]]

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await self.ending()
        await super().shutdown(sockets)


def run(settings: Settings, tell: Callable[[str], None]) -> None:
    """Serve until SIGTERM or Ctrl-C; requests that are in work are answered. ``tell`` is told the page's address.

    Raises ``LimnerError`` where it cannot listen.
    """
    check(settings)
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        listening = socket.create_server((settings.host, settings.port), family=family, backlog=1024)
    except OSError as error:
        raise LimnerError(
            f"{settings.host}, port {settings.port}, cannot be listened on ({error.strerror or error}): give another `host` or `port`."
        ) from error
    with listening:
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        tell(f"http://{host}:{listening.getsockname()[1]}/")
        app = create(settings)
        config = uvicorn.Config(
            app,
            log_level="warning",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            limit_concurrency=CONNECTIONS,
            timeout_graceful_shutdown=int(settings.seconds) + 5,
        )
        server = _Uvicorn(config)
        server.ending = app.state.server.close
        server.run(sockets=[listening])
