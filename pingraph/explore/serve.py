"""Runs the server of `pingraph explore` on the loopback address until Ctrl-C."""

from __future__ import annotations

import errno
import logging
import socket
import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from types import FrameType
from typing import TYPE_CHECKING

from pingraph.errors import PinGraphError

if TYPE_CHECKING:
    from pingraph.subject import Subject

ADDRESS = "127.0.0.1"


def listen(port: int) -> socket.socket:
    """Return a socket that listens on a port of the loopback address; 0 takes any free one.

    Raises:
        PinGraphError: the port is taken or may not be used, or a server's packages are missing.
    """
    for module in ("starlette", "uvicorn"):
        try:
            __import__(module)
        except ImportError as error:
            hint = "pip install 'pingraph[explore]'"
            raise PinGraphError(f"explore needs {module}, which is missing: {hint}") from error
    if not 0 <= port < 2**16:
        raise PinGraphError(f"--port is {port}: expected 0 to {2**16 - 1}")
    # Named as TCP, or asyncio leaves its connections waiting for acknowledgments: 40 ms an answer.
    server = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    # Else a port that was left a moment ago counts as taken. It is taken still by who listens.
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        server.bind((ADDRESS, port))
        server.listen()
    except OSError as error:
        server.close()
        taken = error.errno == errno.EADDRINUSE
        reason = "is taken" if taken else f"cannot be used ({error.strerror})"
        hint = "give another one, or --port 0 for any that is free"
        raise PinGraphError(f"port {port} {reason}: {hint}") from error
    return server


def serve(subjects: Sequence[Subject], server: socket.socket) -> None:
    """Embed what must be embedded, print the address, and answer until Ctrl-C.

    Args:
        subjects: one or two embeddings, each under a name of its own.
        server: what `listen` returned; closed at the end.

    Raises:
        KeyboardInterrupt: at Ctrl-C, once all is closed.
        PinGraphError: as `Explorer` does.
    """
    import uvicorn

    from pingraph.explore.app import make_app
    from pingraph.explore.explorer import Explorer

    port = server.getsockname()[1]

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            sys.stdout.write(f"http://{ADDRESS}:{port}/\n")
            sys.stdout.flush()
            sys.stderr.write("Ctrl-C ends it\n")

        def handle_exit(self, sig: int, frame: FrameType | None) -> None:
            # Answers that are cut off from here on are no errors to be told of.
            logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
            super().handle_exit(sig, frame)

    with server:
        explorer = Explorer([_kept(subject) for subject in subjects])
        config = uvicorn.Config(
            make_app(explorer, port),
            lifespan="off",
            ws="none",
            proxy_headers=False,
            server_header=False,
            log_level="error",
            timeout_graceful_shutdown=2,  # seconds
        )
        Server(config).run(sockets=[server])


def _kept(subject: Subject) -> Subject:
    from pingraph.explore.kept import embed_once

    if subject.run is None:
        return subject
    return replace(subject, make_table=partial(embed_once, subject.run, subject.dataset))
