"""`clew serve`: the page and its API, for one model."""

from __future__ import annotations

import errno
import json
import os
import re
import secrets
import socket
import sys
import webbrowser
from collections.abc import Sequence
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote

import typer
from rich.text import Text

from .. import __version__, settings
from ..errors import PortInUse, UsageError
from ..settings import DEFAULT_MODEL
from .atlas import AtlasOption, located, opened
from .cluster import GpusOption, RayOption, WorkersOption, check_options
from .terminal import (
    DeviceOption,
    DtypeOption,
    JsonOption,
    ModelOption,
    RevisionOption,
    SaeOption,
    load,
    notes,
    print_json,
)

if TYPE_CHECKING:
    from fastapi import FastAPI

    from ..debug import Model
    from ..sae.records import AutoencoderInfo

_UVICORN: dict[str, Any] = {
    "log_level": "warning",
    "access_log": False,
    "server_header": False,
    "proxy_headers": False,
    "ws": "none",
    "lifespan": "on",
}
_TOKEN = re.compile(r"[A-Za-z0-9._~-]{8,200}")
# Told to the process that the reloader starts; the underscore says that it is nobody else's to set.
_RELOADED = "_CLEW_RELOADED"


def serve(
    model: ModelOption = DEFAULT_MODEL,
    revision: RevisionOption = None,
    atlas: AtlasOption = None,
    sae: SaeOption = None,
    llm: Annotated[
        list[str] | None,
        typer.Option(
            "--llm",
            help="A language model that the page may ask for words, MODEL@URL, MODEL or local:MODEL; several times for "
            "more. Without a token the page may name others too.",
        ),
    ] = None,
    device: DeviceOption = None,
    dtype: DtypeOption = None,
    host: Annotated[str, typer.Option(help="The address to listen on; any but this machine's own wants a token.")] = (
        settings.HOST
    ),
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = settings.PORT,
    ray: RayOption = None,
    workers: WorkersOption = None,
    gpus: GpusOption = None,
    open_page: Annotated[
        bool | None, typer.Option("--open/--no-open", help="Open the page in a browser.", show_default="on a desktop")
    ] = None,
    token: Annotated[
        str | None,
        typer.Option(envvar="CLEW_TOKEN", help="Answer only who has this token.", show_default="made up if needed"),
    ] = None,
    reload: Annotated[bool, typer.Option("--reload", help="Restart when Clew's own code changes.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Serve the page and the API. Ctrl-C stops it.

    With --ray collecting, explaining and training run on a cluster, which is connected to when they begin.
    """
    from ..explain.llm.references import read_reference
    from ..server.security import is_loopback

    if token is not None and not _TOKEN.fullmatch(token):
        raise UsageError(
            "A token is 8 to 200 letters, digits and any of . _ ~ - and this one is not.", "Leave it out to get one."
        )
    if reload and as_json:
        raise UsageError("--reload restarts again and again, and has no one document to print.", "Leave out --json.")
    if atlas is not None:
        from ..atlas import Atlas

        Atlas.open(located(atlas))  # one that is not there or damaged is told before the model is loaded
    for reference in llm or ():
        read_reference(reference)  # likewise what names no language model
    check_options(ray, workers, gpus)
    if token is None and not is_loopback(host):
        token = secrets.token_urlsafe(24)
    listening = _listen(host, port)
    port = listening.getsockname()[1]
    query = "" if token is None else f"/?token={quote(token)}"
    url = f"http://{_reachable(host)}:{port}{query}"
    if open_page is None:
        open_page = _on_desktop()
    if reload:
        listening.close()
        options = {"name": model, "revision": revision, "device": device, "dtype": dtype, "token": token}
        options |= {"atlas": atlas, "sae": sae, "llm": llm, "place": [ray, workers, gpus]}
        notes().print(f"Clew is on {url} and restarts when its code changes.", soft_wrap=True)
        _run_reloading(host, port, options)
        return

    with listening:
        subject = load(model, revision, device, dtype, sae)
        app = _app(subject, token, atlas, sae or (), llm or (), (ray, workers, gpus))

        def ready() -> None:
            if as_json:
                print_json({"url": url, "version": __version__, "model": subject.info().to_dict()})
            state = app.state.clew
            _announce(subject, url, state.browser.status(), [row for row in state.autoencoders.infos() if row.attached])
            if open_page:
                # Some browsers keep the call until they are closed.
                Thread(target=webbrowser.open, args=(url,), daemon=True).start()

        _run(app, listening, ready)


def reloaded() -> FastAPI:
    """The application as uvicorn's reloader makes it anew, from what `serve --reload` left in the environment."""
    options: dict[str, Any] = json.loads(os.environ[_RELOADED])
    token, atlas, sae, llm, place = (options.pop(name) for name in ("token", "atlas", "sae", "llm", "place"))
    return _app(load(**options), token, atlas, sae or (), llm or (), place)


def _app(
    model: Model, token: str | None, atlas: str | None, sae: Sequence[str], llm: Sequence[str], place: Sequence[Any]
) -> FastAPI:
    """The application; `place` is what --ray, --workers and --gpus-per-worker say.

    Raises WrongAtlas for an atlas of another model, WrongAutoencoder for such an autoencoder, UsageError for what names
    no language model; what ails the default atlas, the page says.
    """
    from ..server.app import create_app
    from ..server.cluster import Cluster

    if atlas is not None:
        opened(model, atlas)
    folder = None if atlas is None else located(atlas)
    return create_app(model, token, atlas=folder, autoencoders=sae, llms=llm, place=Cluster(*place))


def _run(app: FastAPI, listening: socket.socket, ready: Any) -> None:
    import uvicorn

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            if self.started:
                ready()

        def handle_exit(self, sig: int, frame: Any) -> None:
            # A running answer would keep the server from ending: it is given up first.
            if self.started:
                app.state.clew.jobs.stop()
                app.state.clew.asking.stop()
                app.state.clew.trainings.end()
            super().handle_exit(sig, frame)

    server = Server(uvicorn.Config(app, timeout_graceful_shutdown=3, **_UVICORN))
    try:
        server.run(sockets=[listening])
    except KeyboardInterrupt:
        # uvicorn has shut down in order and passes Ctrl-C on; here it is how one stops.
        notes().print("Stopped.")


def _run_reloading(host: str, port: int, options: dict[str, Any]) -> None:
    import uvicorn

    os.environ[_RELOADED] = json.dumps(options)
    uvicorn.run(
        "clew.cli.serve:reloaded",
        factory=True,
        reload=True,
        reload_dirs=[str(Path(__file__).parents[1])],
        host=host,
        port=port,
        timeout_graceful_shutdown=1,
        **_UVICORN,
    )


def _listen(host: str, port: int) -> socket.socket:
    """A listening socket, before the model is loaded, so that a taken port is told at once.

    Raises PortInUse, or UsageError for an address that is not this machine's or a port it may not use.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (OSError, UnicodeError) as error:
        raise UsageError(f"{host!r} is not an address to listen on.", "Use 127.0.0.1.") from error
    listening = socket.socket(family, kind, protocol)
    try:
        if sys.platform != "win32":
            # A port that a server just left may be taken again at once.
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(128)
    except OSError as error:
        listening.close()
        if error.errno == errno.EADDRINUSE:
            raise PortInUse(
                f"Port {port} is in use, perhaps by another Clew.",
                f"Stop that one, or take another: clew serve --port {port % 65535 + 1}",
            ) from error
        if error.errno in (errno.EACCES, errno.EPERM):
            raise UsageError(f"This user may not listen on port {port}.", "Use a port above 1023.") from error
        raise UsageError(f"{host} is not an address of this machine.", "Use 127.0.0.1.") from error
    return listening


def _reachable(host: str) -> str:
    """The name to open a listening address by."""
    if host in ("0.0.0.0", "::"):
        return socket.gethostname()
    return f"[{host}]" if ":" in host else host


def _announce(model: Model, url: str, atlas: dict[str, Any], attached: Sequence[AutoencoderInfo]) -> None:
    info, terminal = model.info(), notes()
    terminal.print(
        f"[bold]Clew[/] {__version__} with [bold]{info.name}[/] ({info.family}, {info.n_layers} layers, {info.device})",
        soft_wrap=True,
    )
    if atlas["problem"] is not None:
        terminal.print(Text.assemble(("No atlas: ", "bold yellow"), atlas["problem"]), soft_wrap=True)
    elif atlas["atlas"] is not None:
        found = atlas["atlas"]
        terminal.print(f"Atlas {found['name']}: {found['components']:,} components, {found['tokens']:,} tokens")
    for one in attached:
        terminal.print(Text(f"Autoencoder {one.name}: {one.latents:,} latents of {one.reads}"), soft_wrap=True)
    terminal.print(f"Open [bold underline]{url}[/]", soft_wrap=True)
    terminal.print("[dim]Ctrl-C stops it.[/]")


def _on_desktop() -> bool:
    """Whether a browser would open in front of who typed the command."""
    if not sys.stderr.isatty() or "SSH_CONNECTION" in os.environ:
        return False
    return sys.platform in ("darwin", "win32") or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
