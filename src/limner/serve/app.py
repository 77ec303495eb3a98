"""The API, and the page on it."""

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial, wraps
from pathlib import Path
from typing import Annotated, Any, TypeVar
from urllib.parse import quote

from fastapi import FastAPI, Query, Request, Response
from fastapi.responses import FileResponse, StreamingResponse
from fastapi.staticfiles import StaticFiles
from pydantic import BaseModel, Field
from starlette.requests import ClientDisconnect

from limner.batch.options import Options
from limner.gallery import bundled
from limner.gallery.card import Card
from limner.serve import problems, uploads
from limner.serve.asked import Asked
from limner.serve.guard import Guard
from limner.serve.jobs import Jobs, Status
from limner.serve.line import Line, Place, StoppedError
from limner.serve.metrics import MEDIA_TYPE, Metrics
from limner.serve.problems import Problem, described
from limner.serve.settings import Settings
from limner.serve.studio import MEDIA_TYPES, Painting, Photo, Studio
from limner.version import __version__

PAGE = Path(__file__).parent / "page"

THUMBNAIL = 320
"""Pixels of the longer side of a style's thumbnail."""

EXAMPLE = "flower.jpg"
"""The example photograph that thumbnails show."""

GONE = 499
"""What is counted where a client has gone before its answer."""

Answer = TypeVar("Answer")

_BINARY = {"type": "string", "format": "binary"}
_OPTIONS = Asked.model_json_schema()["properties"]


def _body(several: bool) -> dict[str, Any]:
    """The body of an order, for the description."""
    image = {"type": "array", "items": _BINARY, "minItems": 1, "maxItems": uploads.PICTURES} if several else _BINARY
    own = {**_BINARY, "description": "A style file (.onnx), to be used in the place of a bundled style."}
    form = {"type": "object", "required": ["image"], "properties": {"image": image, "style_file": own, **_OPTIONS}}
    raw = {kind: {"schema": _BINARY} for kind in (*MEDIA_TYPES.values(), "image/heic", "application/octet-stream")}
    example = {"image": "(the bytes of photo.jpg)", "style": bundled.default(), "strength": 0.8}
    return {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": form, "example": example}, **raw}}}


_PAINTING = {"description": "The painting.", "content": {kind: {"schema": _BINARY} for kind in MEDIA_TYPES.values()}}
_REFUSED = described(400, 401, 403, 408, 413, 415, 422, 503)


class StyleInfo(BaseModel):
    """A bundled style."""

    name: str = Field(examples=["starry-night"])
    title: str = Field(examples=["Starry Night"])
    description: str
    tiers: list[bundled.Tier]
    working_size: int = Field(description="Short side, in pixels, at which larger pictures are painted; 0 is their own size.")
    licence: str
    default: bool


def style_infos() -> list[StyleInfo]:
    """The bundled styles, in the order in which they are shown."""
    return [
        StyleInfo(
            name=card.name,
            title=card.title,
            description=card.description,
            tiers=bundled.tiers(card.name),
            working_size=card.working_size,
            licence=card.licence,
            default=card.name == bundled.default(),
        )
        for card in bundled.cards()
    ]


class Server:
    """What a running server holds: one studio, one line, its jobs and its numbers."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.studio = Studio(settings.workers, settings.max_pixels)
        self.line = Line(settings.workers, settings.queue)
        self.metrics = Metrics(self.line)
        self.jobs = Jobs(self.studio, self.line, settings.jobs, self._count)
        self.metrics.jobs.set_function(lambda: len(self.jobs))
        self.is_ready = self._closing = False
        self._thumbnails: dict[str, bytes] = {}

    @asynccontextmanager
    async def lifespan(self, _: FastAPI) -> AsyncIterator[None]:
        opening = asyncio.create_task(self._open())
        yield
        opening.cancel()
        await self.close()
        await asyncio.to_thread(self.line.close)
        self.studio.close()
        self.jobs.clear()

    async def close(self) -> None:
        """Finish what is asked for, give up the jobs, and be ready for nothing new."""
        self._closing = True
        await self.jobs.close()

    async def _open(self) -> None:
        """The default style, ready before the first picture comes."""
        with suppress(Problem):  # the example is too large for a server that takes but tiny pictures
            await self._thumbnail(bundled.default())
        self.is_ready = True

    def _count(self, painting: Painting) -> None:
        own = painting.style not in bundled.names()
        self.metrics.painting.labels("own" if own else painting.style).observe(painting.seconds)
        self.metrics.pixels.inc(painting.size[0] * painting.size[1])

    async def _attended(self, request: Request, place: Place, work: Callable[[Callable[[float], None]], Answer]) -> Answer:
        """What ``work`` gives, unless its client goes away or its time is over: then it ends as soon as it looks up."""
        stop = threading.Event()

        def watch(_: float) -> None:
            if stop.is_set():
                raise StoppedError

        working = asyncio.ensure_future(place.work(partial(work, watch)))
        gone = asyncio.ensure_future(_gone(request))
        try:
            await asyncio.wait({working, gone}, timeout=self.settings.seconds, return_when=asyncio.FIRST_COMPLETED)
            if working.done():
                return working.result()
            if gone.done():
                raise ClientDisconnect
            raise self.line.busy(f"The picture would have taken longer than {self.settings.seconds:g} seconds, waiting included")
        finally:
            stop.set()
            gone.cancel()
            working.cancel()

    # ------------------------------------------------------------------------------------------------------- operations

    async def stylize(self, request: Request, _: Annotated[Asked, Query()]) -> Response:
        """Paint a picture. Its options stand in the form, or in the address.

        `Server-Timing` tells how long it took, `Content-Disposition` what to call the file, `Limner-Lost` (percent-encoded) what was in
        the photograph's file and is not in the painting's.
        """
        with self.line.enter() as place:
            order = await uploads.read(request, self.settings)
            photo = order.photos[0]
            painting = await self._attended(request, place, lambda watch: self.studio.paint(photo, order.options, order.own, watch))
        self._count(painting)
        headers = {
            "Content-Disposition": _attachment(painting.name),
            "Server-Timing": f"paint;dur={painting.seconds * 1000:.0f}",
            "Limner-Style": painting.style,
            "Limner-Size": f"{painting.size[0]}x{painting.size[1]}",
            "Cache-Control": "no-store",
        }
        if painting.lost:
            headers["Limner-Lost"] = quote("; ".join(painting.lost))
        return Response(painting.data, media_type=painting.media_type, headers=headers)

    async def styles(self) -> list[StyleInfo]:
        """The bundled styles, in the order in which they are shown."""
        return style_infos()

    async def style(self, name: str) -> Card:
        """The card of a bundled style: how it was trained, on what, under which licence."""
        return self.studio.style(_known(name)).card

    async def thumbnail(self, name: str) -> Response:
        """An example photograph in this style, as a small JPEG."""
        picture = await self._thumbnail(_known(name))
        return Response(picture, media_type="image/jpeg", headers={"Cache-Control": "max-age=86400"})

    async def _thumbnail(self, name: str) -> bytes:
        if name not in self._thumbnails:
            photo = Photo((PAGE / "examples" / EXAMPLE).read_bytes(), EXAMPLE)
            options = Options(style=name, max_size=THUMBNAIL, strip=True, quality=88)
            with self.line.enter() as place:
                self._thumbnails[name] = (await place.work(lambda: self.studio.paint(photo, options))).data
        return self._thumbnails[name]

    async def card(self, request: Request) -> Card:
        """Look at a style file of one's own: its card, or what is wrong with it. It is sent along again with each picture."""
        with self.line.enter() as place:
            data = await uploads.limited(request, self.settings).body()
            return await self._attended(request, place, lambda _: self.studio.own(data).card)

    async def options(self) -> dict[str, Any]:
        """The options of a painting, as a JSON schema: types, bounds, defaults, texts."""
        return Asked.model_json_schema()

    async def start(self, request: Request, response: Response, _: Annotated[Asked, Query()]) -> Status:
        """Have one or many pictures painted, and fetch them later: one as it is, many as a zip."""
        self.jobs.check()
        with self.line.enter():
            order = await uploads.read(request, self.settings, uploads.PICTURES)
        job = await self.jobs.start(order)
        response.headers["Location"] = f"/v1/jobs/{job.id}"
        return job.status

    async def job(self, id: str) -> Status:
        """How a job stands."""
        return self.jobs.find(id).status

    async def cancel(self, id: str) -> Response:
        """Cancel a job, and forget its paintings."""
        await self.jobs.drop(id)
        return Response(status_code=204)

    async def result(self, id: str) -> FileResponse:
        """The painting, or a zip of them, of a job that is done."""
        job = self.jobs.find(id)
        if job.state != "done" or job.result is None:
            raise Problem(409, f"The job is {job.state}: there is nothing to fetch." + "".join(f" {error}" for error in job.errors[:3]))
        return FileResponse(
            job.result, media_type=job.media_type, headers={"Content-Disposition": _attachment(job.name), "Cache-Control": "no-store"}
        )

    async def events(self, id: str) -> StreamingResponse:
        """How a job goes on, as server-sent events, each the same JSON as the job's: until it is over."""
        stream = self.jobs.events(self.jobs.find(id))
        return StreamingResponse(stream, media_type="text/event-stream", headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})

    async def health(self) -> dict[str, str]:
        """Whether the process is alive."""
        return {"status": "ok"}

    async def ready(self) -> dict[str, str]:
        """Whether pictures may be sent."""
        if not self.is_ready or self._closing:
            raise Problem(503, "The server is " + ("ending." if self._closing else "starting."), {"Retry-After": "1"})
        return {"status": "ready"}

    async def numbers(self) -> Response:
        """Numbers for Prometheus."""
        return Response(self.metrics.text(), media_type=MEDIA_TYPE)

    def counted(self, operation: str, work: Callable[..., Awaitable[Any]], usual: int) -> Callable[..., Awaitable[Any]]:
        """An operation whose answers are counted."""

        @wraps(work)
        async def run(*args: Any, **kwargs: Any) -> Any:
            status = 500
            try:
                answer = await work(*args, **kwargs)
                status = answer.status_code if isinstance(answer, Response) else usual
                return answer
            except Problem as problem:
                status = problem.status
                raise
            except ClientDisconnect:
                status = GONE
                return Response(status_code=GONE)
            finally:
                self.metrics.requests.labels(operation, str(status)).inc()

        return run


def create(settings: Settings) -> FastAPI:
    """The application of a server with these settings."""
    server = Server(settings)
    app = FastAPI(
        title="Limner",
        version=__version__,
        description="Photographs in, cartoons and paintings out. Nothing leaves the machine that this runs on.",
        docs_url=None,  # its page is fetched from elsewhere
        redoc_url=None,
        openapi_url="/openapi.json",
        lifespan=server.lifespan,
    )
    app.state.server = server
    app.add_middleware(Guard, settings=settings)
    problems.handle(app)

    def add(path: str, work: Callable[..., Awaitable[Any]], *refused: int, method: str = "GET", **more: Any) -> None:
        answers = {**described(*((401, 403) if path.startswith("/v1/") else ()), *refused), **more.pop("responses", {})}
        name = work.__name__
        app.add_api_route(
            path,
            server.counted(name, work, more.get("status_code", 200)),
            methods=[method],
            operation_id=name,
            name=name,
            responses=answers,
            **more,
        )

    binary: dict[str, Any] = {"response_class": Response}
    add("/v1/stylize", server.stylize, method="POST", responses={**_REFUSED, 200: _PAINTING}, openapi_extra=_body(False), **binary)
    add("/v1/styles", server.styles)
    add("/v1/styles/{name}", server.style, 404)
    add(
        "/v1/styles/{name}/thumbnail",
        server.thumbnail,
        404,
        503,
        responses={200: {"content": {"image/jpeg": {"schema": _BINARY}}}},
        **binary,
    )
    add("/v1/card", server.card, method="POST", responses=_REFUSED, openapi_extra=_file())
    add("/v1/options", server.options)
    add("/v1/jobs", server.start, method="POST", status_code=202, responses=_REFUSED, openapi_extra=_body(True))
    add("/v1/jobs/{id}", server.job, 404)
    add("/v1/jobs/{id}", server.cancel, 404, method="DELETE", status_code=204, **binary)
    kinds = {kind: {"schema": _BINARY} for kind in (*MEDIA_TYPES.values(), "application/zip")}
    add("/v1/jobs/{id}/result", server.result, 404, 409, responses={200: {"content": kinds}}, response_class=FileResponse)
    events = {200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}}
    add("/v1/jobs/{id}/events", server.events, 404, responses=events, response_class=StreamingResponse)
    add("/healthz", server.health)
    add("/readyz", server.ready, 503)
    add("/metrics", server.numbers, 401, responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}}, **binary)
    app.mount("/", StaticFiles(directory=PAGE, html=True), name="page")
    return app


def _file() -> dict[str, Any]:
    return {"requestBody": {"required": True, "content": {"application/octet-stream": {"schema": _BINARY}}}}


def _known(name: str) -> str:
    if name not in bundled.names():
        raise Problem(404, f"There is no style {name[:64]!r}: Limner has {', '.join(bundled.names())}.")
    return name


def _attachment(name: str) -> str:
    return f"attachment; filename*=UTF-8''{quote(name, safe='')}"


async def _gone(request: Request) -> None:
    """Ends when the client has hung up."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
