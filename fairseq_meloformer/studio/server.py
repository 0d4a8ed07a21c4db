"""The studio over HTTP: the page, and the same interface for programs.

FastAPI and a page of plain modules rather than gradio: bars come as server-sent events while they are written, the
piano roll and the player are a canvas and an audio worklet of our own, nothing has to be built, and no request leaves
the machine (gradio loads fonts and sends analytics unless told not to, and its blocks live in iframes).
"""

import json
from collections.abc import AsyncGenerator, AsyncIterator, Collection
from contextlib import aclosing
from pathlib import Path
from typing import Annotated, Any, Final, Literal
from urllib.parse import quote

import anyio
from fastapi import FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse, StreamingResponse
from fastapi.staticfiles import StaticFiles

from fairseq_meloformer import __version__
from fairseq_meloformer.errors import InputError, in_words
from fairseq_meloformer.render import audio
from fairseq_meloformer.studio import phrases
from fairseq_meloformer.studio.asks import ComposeAsk
from fairseq_meloformer.studio.guard import Guard, policy
from fairseq_meloformer.studio.line import FullLineError, Line
from fairseq_meloformer.studio.making import Maker
from fairseq_meloformer.studio.shelf import KINDS
from fairseq_meloformer.words.facts import instrument_names

Row = dict[str, Any]
HERE: Final = frozenset({"127.0.0.1", "localhost", "::1"})
"""Names of this machine to itself."""

WEB: Final = Path(__file__).with_name("web")


def application(maker: Maker, line: Line[ComposeAsk], hosts: Collection[str] = HERE) -> Guard:
    """The server.

    Args:
        maker: composes.
        line: before it.
        hosts: names under which it may be spoken to, "*" for any.
    """
    app = FastAPI(title="MeloFormer studio", version=__version__, docs_url=None, redoc_url=None)
    page = (WEB / "index.html").read_text(encoding="utf-8")
    _refusals(app)
    _pages(app, page)
    _composing(app, maker, line)
    _pieces(app, maker)
    return Guard(app, hosts, policy(page))


def _refusals(app: FastAPI) -> None:
    @app.exception_handler(InputError)
    async def refused(_: Request, error: InputError) -> JSONResponse:
        return JSONResponse({"error": str(error)}, 400)

    @app.exception_handler(OSError)
    async def failed(_: Request, error: OSError) -> JSONResponse:
        return JSONResponse({"error": in_words(error)}, 500)

    @app.exception_handler(RequestValidationError)
    async def malformed(_: Request, error: RequestValidationError) -> JSONResponse:
        told = [f"{'.'.join(map(str, one['loc'][1:])) or 'the request'}: {one['msg']}" for one in error.errors()]
        return JSONResponse({"error": "; ".join(told)[:2000]}, 422)

    @app.exception_handler(FullLineError)
    async def full(_: Request, __: FullLineError) -> JSONResponse:
        return JSONResponse({"error": "too many people are waiting: try again in a minute"}, 503)


def _pages(app: FastAPI, page: str) -> None:
    app.mount("/web", StaticFiles(directory=WEB), name="web")

    @app.get("/", response_class=HTMLResponse, include_in_schema=False)
    async def studio() -> str:
        return page

    @app.get("/api", response_class=HTMLResponse, include_in_schema=False)
    async def documentation() -> str:
        return (WEB / "api.html").read_text(encoding="utf-8")

    @app.get("/soundfont", responses={404: {"description": "none is installed"}})
    def soundfont() -> Response:
        """The General MIDI soundfont that is installed here."""
        path = audio.soundfont()
        if path is None:
            return JSONResponse({"error": audio.HINT}, 404)
        return FileResponse(path, media_type="application/octet-stream", headers={"cache-control": "max-age=86400"})

    @app.get("/instruments")
    async def instruments() -> list[Row]:
        """Names of the 128 programs of General MIDI and, last, of the drums."""
        return [{"en": name["en"], "zh": name["zh"]} for name in instrument_names()]


def _composing(app: FastAPI, maker: Maker, line: Line[ComposeAsk]) -> None:
    @app.post("/compose", response_class=StreamingResponse, responses={200: {"content": {"text/event-stream": {}}}})
    async def compose(ask: ComposeAsk, request: Request) -> StreamingResponse:
        """Compose pieces, or bars of a piece that is here.

        Server-sent events: `queued` with the number of those before you, `bar` for every finished bar with what is
        written of the first draft of a piece, `piece` with its `id` and notes (its MIDI file is `/pieces/ID.mid`), then
        `done`, or `error`. Close the connection to cancel.
        """
        events = line.events(ask)
        first = await anext(events)
        stream = _told(events, first, request)
        return StreamingResponse(stream, media_type="text/event-stream", headers={"cache-control": "no-store"})

    @app.get("/understand")
    def understand(
        text: Annotated[str, Query(max_length=2000)],
        tempo: Annotated[float | None, Query(ge=0, le=1000, description="0 for none")] = None,
        key: Annotated[str | None, Query(max_length=20, description="empty for none")] = None,
        metre: Annotated[str | None, Query(max_length=10, description="empty for none")] = None,
        instrument: Annotated[str | None, Query(max_length=40, description="one more")] = None,
        without: Annotated[int | None, Query(ge=0, le=128, description="program that is no longer named")] = None,
    ) -> Row:
        """What a text is taken to ask for, and which of it is not kept; first the text is changed as is said."""
        if tempo is not None:
            text = phrases.with_tempo(text, tempo or None)
        if key is not None:
            text = phrases.with_key(text, key or None)
        if metre is not None:
            text = phrases.with_metre(text, metre or None)
        if without is not None:
            text = phrases.without_instrument(text, without)
        if instrument is not None:
            text = phrases.with_instrument(text, instrument)
        return maker.understand(text)


def _pieces(app: FastAPI, maker: Maker) -> None:
    shelf = maker.shelf

    @app.post("/pieces")
    async def bring(request: Request, name: str = "") -> Row:
        """Bring a MIDI file, which is the body of the request: it can be written anew, continued, or be a plan."""
        data = await request.body()
        return await anyio.to_thread.run_sync(shelf.bring, data, name)

    @app.get("/pieces/{piece}.{kind}", response_class=Response)
    def take(piece: str, kind: Literal["mid", "musicxml", "wav", "png", "json", "html", "zip"]) -> Response:
        """A piece to take home."""
        name = quote(f"{shelf.file_name(piece)}.{kind}")
        headers = {"content-disposition": f"attachment; filename*=UTF-8''{name}"}
        return Response(shelf.taken(piece, kind), media_type=KINDS[kind], headers=headers)

    @app.get("/pieces/{piece}")
    def get(piece: str) -> Row:
        """What is known of a piece, with its notes."""
        return shelf.get(piece)


async def _told(events: AsyncGenerator[Row], first: Row, request: Request) -> AsyncIterator[str]:
    """Events as they are sent, until there are no more or nobody listens."""
    async with aclosing(events):
        yield _line(first)
        async for event in events:
            if await request.is_disconnected():
                return
            yield _line(event)


def _line(event: Row) -> str:
    if event["event"] == "pulse":
        return ": \n\n"
    return f"data: {json.dumps(event, ensure_ascii=False, separators=(',', ':'))}\n\n"
