"""Who may ask: a layer around the whole application, before anything of a request is read."""

import hmac

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from limner.serve import problems
from limner.serve.settings import Settings, is_own

OWN_NAMES = ("localhost", "127.0.0.1", "::1")

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; media-src 'self' blob:; connect-src 'self'; "
    "manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""What a browser lets the page do: nothing that leads to another machine."""

HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class Guard:
    """Asks for the key where there is one, and keeps other sites' pages out: they could use a server that listens on this machine alone."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app, self._settings = app, settings
        self._names = {*OWN_NAMES, settings.host, *settings.allow_host}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        headers = Headers(scope=scope)
        refused = self._refused(scope["path"], headers)
        if refused is None:
            await self._app(scope, receive, guarded)
        else:
            more = {"WWW-Authenticate": "Bearer"} if refused[0] == 401 else {}
            await problems.response(*refused, more)(scope, receive, guarded)

    def _refused(self, path: str, headers: Headers) -> tuple[int, str] | None:
        if headers.get("sec-fetch-site", "none") not in ("same-origin", "none") and path.startswith("/v1/"):
            return 403, "Another site's page asks: only this server's own page may."
        key = self._settings.api_key
        if key:
            if path.startswith(("/v1/", "/metrics")) and not _same(headers.get("authorization", ""), f"Bearer {key}"):
                return 401, "This server asks for a key: send it as Authorization: Bearer KEY."
        elif is_own(self._settings.host) and _name(headers.get("host", "")) not in self._names:
            return 403, "This server is asked for by a name that it does not know: see `allow_host`."
        return None


def _same(given: str, wanted: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "replace"), wanted.encode("utf-8", "replace"))


def _name(host: str) -> str:
    """A host header without its port."""
    return host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
