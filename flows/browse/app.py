"""The pages of `onpolicy browse`: made here, without a script, and read only."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
from jinja2 import Environment, FileSystemLoader
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route

from contracts.errors import first_line
from flows.browse import listing
from flows.browse.index import Index
from flows.browse.listing import PAIR_SORTS, SORTS, Asked
from flows.browse.prompt import prompt_view

HOSTS = ["127.0.0.1", "localhost"]
_FOLDER = Path(__file__).with_name("templates")
# Always escaped: a run's texts come from a model, and its folder may come from others.
_TEMPLATES = Environment(loader=FileSystemLoader(_FOLDER), autoescape=True, trim_blocks=True)
# The texts come from a model: no script runs here, and a page fetches nothing from elsewhere.
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; img-src data:; "
                               "form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}  # fmt: skip


def make_app(index: Index) -> Starlette:
    """The pages over an index. They answer to this machine's own names alone: a page elsewhere
    whose name comes to mean 127.0.0.1 reads nothing here (DNS rebinding)."""
    pages = {"/": _responses, "/pairs": _pairs, "/prompt/{prompt_id}": _prompt}
    routes = [Route(path, partial(_answer, index, page)) for path, page in pages.items()]
    # starlette takes a partial for a coroutine's or not by what it wraps: plain, so in a thread.
    return Starlette(
        routes=[*routes, Route("/style.css", _style)],
        middleware=[
            Middleware(TrustedHostMiddleware, allowed_hosts=HOSTS, www_redirect=False),
            Middleware(BaseHTTPMiddleware, dispatch=_with_headers),
        ],
        exception_handlers={duckdb.Error: _unreadable},
    )


def _answer(index: Index, page: Callable[[Index, Request], Response], request: Request) -> Response:
    return page(index, request)


def _unreadable(_: Request, error: Exception) -> Response:
    """A part that is damaged, gone since, or of another version."""
    told = f"a table of this run cannot be read: {first_line(error)}\n`onpolicy inspect` says which"
    return PlainTextResponse(told, 500)


async def _with_headers(request: Request, call_next: Any) -> Response:
    response: Response = await call_next(request)
    response.headers.update(_HEADERS)
    return response


def _style(_: Request) -> Response:
    return Response((_FOLDER / "style.css").read_bytes(), media_type="text/css")


def _responses(index: Index, request: Request) -> Response:
    asked = Asked("/", dict(request.query_params))
    page = listing.responses(index, asked)
    shown = {"sorts": [*SORTS], "annotator": listing.annotator_of(index, asked)}
    return _render("responses.html.j2", index, "responses", asked=asked, page=page, **shown)


def _pairs(index: Index, request: Request) -> Response:
    asked = Asked("/pairs", dict(request.query_params))
    page = listing.pairs(index, asked)
    return _render("pairs.html.j2", index, "pairs", asked=asked, page=page, sorts=[*PAIR_SORTS])


def _prompt(index: Index, request: Request) -> Response:
    only = Asked("", dict(request.query_params)).round
    view = prompt_view(index, request.path_params["prompt_id"], only)
    if view is None:
        return PlainTextResponse("this run has no such prompt", 404)
    return _render("prompt.html.j2", index, "prompt", **view)


def _render(template: str, index: Index, place: str, **values: Any) -> Response:
    text = _TEMPLATES.get_template(template).render(
        run=index.run.name, index=index, place=place, **values
    )
    return HTMLResponse(text)
