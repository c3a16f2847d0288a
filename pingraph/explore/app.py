"""The addresses of the server, and what each of them answers."""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from pingraph.errors import PinGraphError
from pingraph.explore.cards import SIDES
from pingraph.explore.guard import Guard
from pingraph.explore.question import read_parameters, read_question

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.types import ASGIApp

    from pingraph.explore.explorer import Explorer

LARGEST_IMAGE = 20 * 2**20  # bytes of an encoded image to search with
_TYPES = {"html": "text/html", "css": "text/css", "js": "text/javascript"}
_NO_STORE = {"Cache-Control": "no-store"}


def make_app(explorer: Explorer, port: int) -> ASGIApp:
    """Return the application, guarded.

    Args:
        explorer: what answers.
        port: that the server listens on.
    """
    answers = _Answers(explorer)
    app = Starlette(
        routes=[
            *(Route(f"/{name}", _file(name)) for name in ("page.css", "page.js", "draw.js")),
            Route("/colors.css", _file("colors.css", "pingraph")),
            Route("/", _file("page.html")),
            Route("/favicon.ico", _nothing),
            Route("/api/about", answers.about),
            Route("/api/view", answers.view),
            Route("/api/boards", answers.boards),
            Route("/api/why", answers.why),
            Route("/api/image", answers.keep_image, methods=["POST"]),
            Route("/image/{index:int}", answers.picture),
            Route("/given/{key}", answers.given_picture),
        ],
        exception_handlers={
            PinGraphError: _refused,
            HTTPException: _not_found,
            Exception: _broken,
        },
    )
    return Guard(app, port)


class _Answers:
    """What is answered under each address; those that are not `async` run in threads."""

    def __init__(self, explorer: Explorer):
        self.explorer = explorer
        self._etag = explorer.dataset.fingerprint[:32]

    def about(self, request: Request) -> Response:
        read_parameters(request.query_params.multi_items(), ())
        return _json(self.explorer.about())

    def view(self, request: Request) -> Response:
        asked = read_question(request.query_params.multi_items(), self.explorer.directory)
        return _json(self.explorer.view(asked))

    def boards(self, request: Request) -> Response:
        given = _required(request, "words")
        return _json({"boards": self.explorer.boards(given["words"])})

    def why(self, request: Request) -> Response:
        given = _required(request, "pin", "other", "run")
        runs = [str(run) for run in range(len(self.explorer.subjects))]
        if given["run"] not in runs:
            raise PinGraphError(f"run is {given['run']!r}: expected {' or '.join(runs)}")
        said = self.explorer.why(given["pin"], given["other"], int(given["run"]))
        return _json({"summary": said})

    async def keep_image(self, request: Request) -> Response:
        data = bytearray()
        async for part in request.stream():
            data += part
            if len(data) > LARGEST_IMAGE:
                limit = f"{LARGEST_IMAGE // 2**20} MB"
                return _json({"error": f"the image is larger than {limit}"}, 413)
        key = await run_in_threadpool(self.explorer.images.keep, bytes(data))
        return _json({"image": key})

    def picture(self, request: Request) -> Response:
        given = read_parameters(request.query_params.multi_items(), ("side",))
        side = given.get("side", str(SIDES[0]))
        if side not in map(str, SIDES):
            raise PinGraphError(f"side is {side!r}: expected one of {', '.join(map(str, SIDES))}")
        index = request.path_params["index"]
        if index >= self.explorer.dataset.num_pins:
            raise HTTPException(404, f"no pin with index {index}")
        etag = f'"{self._etag}-{index}-{side}"'
        # Asked again each time: on this port may be another data set tomorrow.
        headers = {"ETag": etag, "Cache-Control": "private, no-cache"}
        if request.headers.get("if-none-match") == etag:
            return Response(status_code=304, headers=headers)
        picture = self.explorer.cards.picture(index, int(side))
        if picture is None:
            raise HTTPException(404, "this pin has no image")
        return Response(picture, media_type="image/png", headers=headers)

    def given_picture(self, request: Request) -> Response:
        picture = self.explorer.images[request.path_params["key"]].picture
        return Response(picture, media_type="image/png", headers=_NO_STORE)


def _required(request: Request, *names: str) -> dict[str, str]:
    given = read_parameters(request.query_params.multi_items(), names)
    for name in names:
        if name not in given:
            raise PinGraphError(f"{name} is missing")
    return given


def _file(name: str, package: str = "pingraph.explore") -> Any:
    content = files(package).joinpath(name).read_bytes()
    kind = _TYPES[name.rpartition(".")[2]]

    async def answer(request: Request) -> Response:
        return Response(content, media_type=kind, headers={"Cache-Control": "no-cache"})

    return answer


async def _nothing(request: Request) -> Response:
    return Response(status_code=204)


def _json(value: Any, status: int = 200) -> Response:
    return JSONResponse(value, status, headers=_NO_STORE)


def _refused(request: Request, error: Exception) -> Response:
    return _json({"error": str(error)}, 400)


def _not_found(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _json({"error": error.detail}, error.status_code)


def _broken(request: Request, error: Exception) -> Response:
    return _json({"error": "a fault of pingraph: the terminal shows what happened"}, 500)
