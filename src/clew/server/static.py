"""The built page: its files, and index.html for every address that the page itself understands."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from .security import is_api

BUILT = Path(__file__).parent.parent / "_static"

_NOT_BUILT = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Clew</title>
<meta name="viewport" content="width=device-width">
<style>:root{color-scheme:light dark}
body{font:16px/1.6 system-ui,sans-serif;max-width:36rem;margin:15vh auto;padding:0 1.5rem}
code{font-family:ui-monospace,monospace;padding:.1em .35em;border-radius:4px;background:#8883}</style>
<h1>The page is not built yet</h1>
<p>The server and its API work; only the page is missing. In the folder Clew was cloned into, run</p>
<p><code>make run</code></p>
<p>or, to build the page alone, <code>cd web &amp;&amp; npm ci &amp;&amp; npm run build</code>, and reload.</p>
</html>"""


class Pages(StaticFiles):
    """Files of the built page. Names under assets/ carry a hash of their content, so a browser may keep them."""

    def __init__(self, folder: Path = BUILT) -> None:
        super().__init__(directory=folder, check_dir=False)

    async def check_config(self) -> None:
        # The page may be built while the server runs.
        pass

    async def get_response(self, path: str, scope: Scope) -> Response:
        if is_api(scope["path"]):
            raise HTTPException(404)
        try:
            response = await super().get_response(path, scope)
        except HTTPException as error:
            if error.status_code != 404 or _names_a_file(path):
                raise
            response = await self._index(scope)
        kept = path.startswith("assets/") and response.status_code in (200, 304)
        response.headers["Cache-Control"] = "public, max-age=31536000, immutable" if kept else "no-cache"
        return response

    async def _index(self, scope: Scope) -> Response:
        try:
            return await super().get_response("index.html", scope)
        except HTTPException as error:
            if error.status_code != 404:
                raise
            return HTMLResponse(_NOT_BUILT, 503)


def _names_a_file(path: str) -> bool:
    """Whether a path that is not there was meant as a file: /some/view is an address within the page, and so are
    /c/neuron.5.200 and /saes/mlp_out.10, whose last parts only look like suffixes; /some/file.js is a file, and
    missing."""
    if path.startswith(("c/", "saes/")):
        return False
    return path.startswith("assets/") or PurePosixPath(path).suffix != ""
