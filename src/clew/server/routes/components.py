"""Component pages: what a component does in general and on a prompt, and searches for components."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response
from starlette.concurrency import run_in_threadpool

from ...records import ExampleKind
from ..answers import encode
from ..events import STREAMS, EventStream
from ..schemas.atlas import (
    AtlasStatus,
    Card,
    CoFirings,
    CollectDone,
    CollectProgress,
    CollectRequest,
    Component,
    ComponentPrompt,
    Firings,
    OnPrompt,
    Pairs,
    PromptSearch,
    PushMatches,
    PushSearch,
    TokenMatches,
    TokenSearch,
    Weights,
)
from ..schemas.base import MAX_LISTED, ErrorReply
from ..state import Shared

router = APIRouter(
    tags=["components"],
    responses={
        404: {
            "model": ErrorReply,
            "description": "There is no atlas where only one can answer, or no such autoencoder.",
        },
        409: {"model": ErrorReply, "description": "An autoencoder that was named is not of this model."},
    },
)

Id = Annotated[str, Path(max_length=100, description="A component id, such as neuron.5.200 or latent.mlp_out.10.117.")]
Autoencoders = Annotated[
    list[str] | None,
    Query(
        max_length=MAX_LISTED,
        description="Names of autoencoders (GET /api/autoencoders) whose latents are among the components; by default "
        "those that the server was given.",
    ),
]

_EVENTS = "Server-sent events; closing the connection cancels. What is done is kept, and the next collection goes on."


def _json(body: bytes) -> Response:
    return Response(body, media_type="application/json")


@router.get("/atlas", response_model=AtlasStatus, summary="The open atlas")
async def atlas(shared: Shared) -> Response:
    return _json(await run_in_threadpool(lambda: encode(shared.browser.status())))


# Before the routes of one component: what is refused here then names the methods of this path.
@router.post("/components/prompt", response_model=OnPrompt, summary="What a component does on a prompt")
async def component_prompt(request: Request, body: ComponentPrompt, shared: Shared) -> Response:
    return _json(
        await shared.jobs.run(
            request,
            lambda stop: encode(
                shared.browser.components(body.autoencoders)
                .on_prompt(body.component, body.prompt, body.bos, stop=stop)
                .to_dict()
            ),
        )
    )


@router.get("/components/{component}", response_model=Component, summary="What the atlas holds of one component")
async def component(component: Id, shared: Shared, autoencoders: Autoencoders = None) -> Response:
    return _json(
        await run_in_threadpool(lambda: encode(shared.browser.components(autoencoders).component(component).to_dict()))
    )


@router.get("/components/{component}/pairs", response_model=Pairs, summary="All pairs of one example of a head")
async def component_pairs(
    component: Id,
    shared: Shared,
    kind: ExampleKind,
    rank: Annotated[int, Query(ge=0, le=10_000)],
    band: Annotated[int | None, Query(ge=0, le=100)] = None,
    autoencoders: Autoencoders = None,
) -> Response:
    return _json(
        await run_in_threadpool(
            lambda: encode(shared.browser.components(autoencoders).pairs(component, kind, rank, band).to_dict())
        )
    )


@router.get("/components/{component}/cofiring", response_model=CoFirings, summary="Components that fire where it does")
async def component_cofiring(component: Id, shared: Shared, autoencoders: Autoencoders = None) -> Response:
    return _json(
        await run_in_threadpool(
            lambda: encode({"rows": shared.browser.components(autoencoders).cofiring(component).to_dict()})
        )
    )


@router.get("/components/{component}/card", response_model=Card, summary="A component in short")
async def component_card(
    request: Request, component: Id, shared: Shared, autoencoders: Autoencoders = None
) -> Response:
    return _json(
        await shared.jobs.run(
            request, lambda stop: encode(shared.browser.components(autoencoders).card(component).to_dict())
        )
    )


@router.get("/components/{component}/weights", response_model=Weights, summary="What a component's weights say")
async def component_weights(
    request: Request, component: Id, shared: Shared, autoencoders: Autoencoders = None
) -> Response:
    return _json(
        await shared.jobs.run(
            request, lambda stop: encode(shared.browser.components(autoencoders).weights(component).to_dict())
        )
    )


@router.post("/search/prompt", response_model=Firings, summary="Which components fire on a text")
async def search_prompt(request: Request, body: PromptSearch, shared: Shared) -> Response:
    return _json(await shared.jobs.run(request, lambda stop: shared.browser.search_prompt(body, stop)))


@router.post("/search/token", response_model=TokenMatches, summary="Which components have top examples on a token")
async def search_token(body: TokenSearch, shared: Shared) -> Response:
    return _json(await run_in_threadpool(lambda: shared.browser.search_token(body)))


@router.post("/search/pushed", response_model=PushMatches, summary="Which components push an output token")
async def search_pushed(request: Request, body: PushSearch, shared: Shared) -> Response:
    return _json(await shared.jobs.run(request, lambda stop: shared.browser.search_pushed(body)))


@router.post(
    "/collect",
    openapi_extra=STREAMS,
    response_model=CollectProgress | CollectDone,
    response_description=_EVENTS,
    responses={
        409: {"model": ErrorReply, "description": "Something else was collected there, or half collected."},
        507: {"model": ErrorReply, "description": "The disk is full; what was complete is kept."},
    },
    summary="Collect an atlas from the text that ships with Python; events progress and done",
)
async def collect(request: Request, body: CollectRequest, shared: Shared) -> Response:
    return EventStream(await shared.collecting.stream(request, lambda stop: shared.browser.collect(body, stop)))
