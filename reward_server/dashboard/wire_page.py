"""`GET /openapi.json`: the API schema; `GET /docs`: the same in Swagger UI.

Swagger UI's files come from the package `fastapi-swagger`. FastAPI's own page loads them from a
public host: it stays blank offline, and tells that host about every visitor.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from touchstone_rewards import __version__
from touchstone_rewards.reward_server.dashboard.policy import digest, page_headers
from touchstone_rewards.reward_server.openapi import openapi_document

PAGE = Path(__file__).with_name("wire_page.html")
FILES = {"swagger-ui.css": "text/css", "swagger-ui-bundle.js": "text/javascript"}
CACHED = {"cache-control": "public, max-age=3600", "x-content-type-options": "nosniff"}


def wire_routes(title: str) -> list[Route]:
    """Return the routes of the schema, of the page, and of the two files that the page loads."""
    page = PAGE.read_text(encoding="utf-8")
    script = page.partition("<script>")[2].partition("</script>")[0]
    headers = page_headers(
        scripts=f"'self' {digest(script)}", styles="'self' 'unsafe-inline'", images="'self' data:"
    )

    async def show_document(_: Request) -> Response:
        return JSONResponse(openapi_document(title, __version__))

    async def show_page(_: Request) -> Response:
        return Response(page, headers=headers)

    async def show_file(request: Request) -> Response:
        name = request.url.path.rpartition("/")[2]
        path = Path(str(files("fastapi_swagger") / "resources" / name))
        return FileResponse(path, media_type=FILES[name], headers=CACHED)

    return [
        Route("/openapi.json", show_document),
        Route("/docs", show_page),
        *(Route(f"/docs/{name}", show_file) for name in FILES),
    ]
