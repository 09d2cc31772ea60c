"""The application: routes under /api, the page everywhere else."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute
from starlette.middleware.gzip import GZipMiddleware

from .. import settings
from . import errors
from .answers import Answers
from .attached import Attached
from .browser import Browser
from .cluster import Cluster, Lookout
from .events import describe
from .explaining import Explaining
from .jobs import Jobs
from .routes import autoencoders, cluster, components, debugger, explanations, status
from .schemas.base import ErrorReply
from .security import BodyLimit, Guard, SecurityHeaders
from .state import State
from .static import Pages
from .trainings import Trainings

if TYPE_CHECKING:
    from ..debug import Model

_ASKING = 4  # explainings and scorings that wait for language models at once

_ERRORS: dict[int | str, dict[str, Any]] = {
    400: {"model": ErrorReply, "description": "The body is not JSON."},
    403: {"model": ErrorReply, "description": "The Host, Origin or token is not one the server accepts."},
    413: {"model": ErrorReply, "description": "The body is over the limit."},
    422: {"model": ErrorReply, "description": "The question cannot be asked as it stands."},
    500: {"model": ErrorReply, "description": "The model's own numbers are not finite, or Clew has a fault."},
    503: {"model": ErrorReply, "description": "Too many questions are waiting, or the cluster is not there."},
}
_NO_ATLAS: dict[int | str, dict[str, Any]] = {
    404: {"model": ErrorReply, "description": "There is no atlas, and only one can answer."}
}
_NO_AUTOENCODER: dict[int | str, dict[str, Any]] = {
    404: {"model": ErrorReply, "description": "There is no autoencoder, report or training of this name."}
}


def create_app(
    model: Model,
    token: str | None = None,
    max_queue: int = settings.MAX_QUEUE,
    atlas: Path | None = None,
    autoencoders: Sequence[str] = (),
    llms: Sequence[str] = (),
    place: Cluster = Cluster(),
) -> FastAPI:
    """The server of one loaded model.

    Without a `token` it answers to loopback names only; with one it answers to any name, whoever has the token.
    `atlas` is the folder of the atlas to show and to collect into; by default the model's own under $CLEW_HOME.
    `autoencoders` are references of those to attach; raises what `Attached` raises for one that cannot be. `llms` are
    references of language models that may be asked for words, without a `token` others too. `place` is where
    collecting, explaining and training are done.
    """
    attached = Attached(model, autoencoders, local=token is None)
    browser = Browser(model, settings.atlas_of(model.name) if atlas is None else atlas, attached, place)
    explaining = Explaining(model, browser, attached, llms, local=token is None, place=place)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        jobs, asking = Jobs(max_queue), Jobs(max_queue, _ASKING)
        trainings = Trainings(model, local=token is None, place=place)
        answers, lookout = Answers(model, attached), Lookout(place)
        app.state.clew = State(model, jobs, asking, answers, browser, attached, trainings, explaining, lookout)
        yield
        asking.close()
        jobs.close()
        trainings.close()
        explaining.close()
        lookout.close()

    app = routed(lifespan)
    app.router.default = Pages()
    errors.install(app)
    # The last one added sees a request first. Level 3 takes a third of level 9's time for a tenth more bytes.
    app.add_middleware(errors.Faults)
    app.add_middleware(GZipMiddleware, minimum_size=2048, compresslevel=3)
    app.add_middleware(BodyLimit)
    app.add_middleware(Guard, token=token)
    app.add_middleware(SecurityHeaders)
    return app


class Api(FastAPI):
    """FastAPI, with its streams described as what they are."""

    def openapi(self) -> dict[str, Any]:
        return describe(super().openapi()) if self.openapi_schema is None else self.openapi_schema


def routed(lifespan: Callable[[FastAPI], AbstractAsyncContextManager[None]] | None = None) -> FastAPI:
    """The application's routes and their description, without a model to answer them."""
    app = Api(
        title="Clew",
        # Of the API, not of Clew: a release alone does not change openapi.json.
        version="1",
        summary="Why did the language model say that?",
        openapi_url="/api/openapi.json",
        # FastAPI's documentation pages load their scripts from elsewhere, and Clew works offline.
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=lifespan,
        generate_unique_id_function=_operation,
    )
    api = APIRouter(prefix="/api")
    api.include_router(status.router, responses={code: _ERRORS[code] for code in (403, 500)})
    api.include_router(cluster.router, responses={code: _ERRORS[code] for code in (403, 422, 500)})
    api.include_router(debugger.router, responses=_ERRORS)
    api.include_router(components.router, responses={**_ERRORS, **_NO_ATLAS})
    api.include_router(explanations.router, responses=_ERRORS)
    api.include_router(autoencoders.router, responses={**_ERRORS, **_NO_AUTOENCODER})
    app.include_router(api)
    return app


def _operation(route: APIRoute) -> str:
    return route.name
