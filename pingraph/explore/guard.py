"""Who may ask the server, and what the page may do.

The server listens on the loopback address alone, yet a browser on this machine shows pages of
strangers too. A stranger's name may be made to point to 127.0.0.1 (DNS rebinding): so the Host
header must be one of ours. A stranger's page may send requests here whose answers it cannot read:
so a request that changes something must come from our own origin, and no other page may hold our
pictures or be a frame around ours.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class Guard:
    """Refuses what is not asked of this server by its own page, and sends HEADERS with all answers.

    Args:
        app: what answers the rest.
        port: that the server listens on.
    """

    def __init__(self, app: ASGIApp, port: int):
        self.app = app
        self.hosts = [f"{name}:{port}" for name in ("127.0.0.1", "localhost", "[::1]")]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        reason = self._refusal(scope) if scope["type"] == "http" else None
        answer = JSONResponse({"error": reason}, 403) if reason else self.app
        await answer(scope, receive, send_guarded)

    def _refusal(self, scope: Scope) -> str | None:
        headers = Headers(scope=scope)
        hosts = headers.getlist("host")
        if len(hosts) != 1 or hosts[0].lower() not in self.hosts:
            known = " or ".join(self.hosts[:2])
            return f"this server is asked as {known} only; a tunnel must keep the port"
        if scope["method"] not in ("GET", "HEAD"):
            origin = headers.get("origin")
            if origin != f"http://{hosts[0].lower()}":
                return "only the page of this server may send something"
        return None
