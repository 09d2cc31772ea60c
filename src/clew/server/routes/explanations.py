"""Explanations: kept ones, what finding and scoring them takes, and the model as a whole."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response
from fastapi import Path as PathParam
from pydantic import Field
from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool
from starlette.responses import FileResponse

from ... import settings
from ...explain.records import ScorerName, Variant
from ..answers import encode
from ..events import STREAMS, EventStream
from ..jobs import Stop
from ..schemas.base import MAX_LISTED, ErrorReply, Index
from ..schemas.explain import (
    BestExplanations,
    BestRequest,
    ComponentExplanations,
    ExplainPlan,
    ExplainProgress,
    ExplainRequest,
    Explanation,
    ExportFormat,
    FoundExplanations,
    LLMs,
    NodeExplainRequest,
    NodePlan,
    Overview,
    ScoreRequest,
    Sources,
    Strips,
)
from ..schemas.sae import MAX_REFERENCE_CHARS
from ..state import Shared
from .components import Autoencoders, Id

router = APIRouter(
    tags=["explanations"],
    responses={
        404: {
            "model": ErrorReply,
            "description": "There is no such explanation, language model, atlas or autoencoder.",
        },
        409: {"model": ErrorReply, "description": "An autoencoder that was named is not of this model."},
    },
)

_Responses = dict[int | str, dict[str, Any]]
_ASKED: _Responses = {
    402: {"model": ErrorReply, "description": "The budget is spent; what was answered is kept."},
    502: {"model": ErrorReply, "description": "The language model failed to answer."},
    507: {"model": ErrorReply, "description": "The disk is full; what was complete is kept."},
}
_FILE = "application/octet-stream"
_EVENTS = "Server-sent events; closing the connection cancels. What was answered is kept, and asked for no second time."

Number = Annotated[int, PathParam(ge=1, le=2**53)]


def _json(body: bytes) -> Response:
    return Response(body, media_type="application/json")


@router.get("/llms", response_model=LLMs, summary="What can be asked for words")
async def llms(shared: Shared) -> Response:
    return _json(await run_in_threadpool(lambda: encode(shared.explanations.llms())))


@router.get(
    "/components/{component}/explanations",
    response_model=ComponentExplanations,
    summary="All explanations of a component, and what was tried in vain",
)
async def component_explanations(component: Id, shared: Shared, autoencoders: Autoencoders = None) -> Response:
    return _json(await run_in_threadpool(lambda: encode(shared.explanations.of(component, autoencoders))))


@router.post(
    "/explanations/best", response_model=BestExplanations, summary="The best explanation of each of many components"
)
async def best_explanations(body: BestRequest, shared: Shared) -> Response:
    return _json(await run_in_threadpool(lambda: encode(shared.explanations.best(body))))


@router.post(
    "/explanations/plan",
    response_model=ExplainPlan,
    responses=_ASKED,
    summary="What explaining would take, before anything is asked",
)
async def plan_explanations(request: Request, body: ExplainRequest, shared: Shared) -> Response:
    return _json(await shared.asking.run(request, lambda stop: encode(shared.explanations.plan(body, stop))))


@router.post(
    "/explanations/explain",
    openapi_extra=STREAMS,
    response_model=ExplainProgress,
    response_description=_EVENTS,
    responses=_ASKED,
    summary="Find words for components and score them; events progress and done",
)
async def explain(request: Request, body: ExplainRequest, shared: Shared) -> Response:
    return EventStream(await shared.asking.stream(request, lambda stop: shared.explanations.explain(body, stop)))


@router.post(
    "/explanations/score",
    openapi_extra=STREAMS,
    response_model=ExplainProgress,
    response_description=_EVENTS,
    responses=_ASKED,
    summary="Score words, a person's or kept ones; events progress and done",
)
async def score_explanation(request: Request, body: ScoreRequest, shared: Shared) -> Response:
    return EventStream(await shared.asking.stream(request, lambda stop: shared.explanations.score(body, stop)))


@router.post(
    "/explanations/node/plan",
    response_model=NodePlan,
    responses=_ASKED,
    summary="What explaining a node in its prompt would take, before anything is asked",
)
async def plan_node_explanation(request: Request, body: NodeExplainRequest, shared: Shared) -> Response:
    return _json(await shared.asking.run(request, lambda stop: encode(shared.explanations.plan_node(body, stop))))


@router.post(
    "/explanations/node",
    response_model=Explanation,
    responses=_ASKED,
    summary="A node in its prompt, in words that cite what was measured",
)
async def explain_node(request: Request, body: NodeExplainRequest, shared: Shared) -> Response:
    return _json(await shared.asking.run(request, lambda stop: encode(shared.explanations.explain_node(body, stop))))


@router.get(
    "/explanations/search",
    response_model=FoundExplanations,
    responses=_ASKED,
    summary="Explanations by their words, or by what they mean",
)
async def search_explanations(
    request: Request,
    shared: Shared,
    q: Annotated[str, Query(max_length=settings.MAX_EXPLANATION_CHARS, description="Words; empty: all.")] = "",
    embed: Annotated[
        str | None,
        Query(
            max_length=MAX_REFERENCE_CHARS,
            description="An embedding model, MODEL@URL, to find what is near to the words instead. It is sent the "
            "explanations that it was not sent before.",
        ),
    ] = None,
    kinds: Annotated[list[Literal["attn", "neuron", "latent"]] | None, Query(max_length=3)] = None,
    layers: Annotated[list[Index] | None, Query(max_length=MAX_LISTED)] = None,
    llm: Annotated[str | None, Query(max_length=MAX_REFERENCE_CHARS, description="Only of this explainer.")] = None,
    min_score: Annotated[float | None, Query(ge=-1, le=1)] = None,
    sort: Literal["relevance", "score"] = "relevance",
    offset: Annotated[Index, Query()] = 0,
    limit: Annotated[int, Query(ge=1, le=settings.MAX_FOUND)] = settings.FOUND,
) -> Response:
    among: dict[str, Any] = {"kinds": kinds, "layers": layers, "llm": llm, "min_score": min_score}
    among |= {"offset": offset, "limit": limit}

    def work(stop: Stop) -> bytes:
        return encode(shared.explanations.search(q, embed, sort, stop, **among))

    if embed is not None:
        return _json(await shared.asking.run(request, work))
    return _json(await run_in_threadpool(work, lambda: False))


@router.get("/explanations/sources", response_model=Sources, summary="What there is to see an overview of")
async def explanation_sources(shared: Shared) -> Response:
    return _json(await run_in_threadpool(lambda: encode(shared.explanations.sources())))


@router.get("/explanations/overview", response_model=Overview, summary="All explanations of a model by one explainer")
async def explanation_overview(
    shared: Shared,
    model: Annotated[
        str | None, Query(max_length=MAX_REFERENCE_CHARS, description="By default the loaded model.")
    ] = None,
    llm: Annotated[str | None, Query(max_length=MAX_REFERENCE_CHARS)] = None,
    variant: Variant | None = None,
    scorer: ScorerName | None = None,
    simulator: Annotated[str | None, Query(max_length=MAX_REFERENCE_CHARS)] = None,
) -> Response:
    """Of the sources that what is given leaves, the one with most components."""
    found = await run_in_threadpool(
        lambda: encode(shared.explanations.overview(model, llm, variant, scorer, simulator))
    )
    return _json(found)


@router.get(
    "/explanations/export",
    response_class=Response,
    responses={200: {"content": {_FILE: {}}, "description": "A file to save."}},
    summary="Chosen explanations of the loaded model as a file: Clew's own, OpenAI's or Neuronpedia's",
)
async def export_explanations(
    shared: Shared,
    format: ExportFormat = "json",
    components: Annotated[
        list[Annotated[str, Field(max_length=100)]] | None,
        Query(max_length=MAX_LISTED, description="Ids and patterns, such as neuron.5.* or attn.3.1; by default all."),
    ] = None,
) -> Response:
    folder = TemporaryDirectory(prefix="clew-")
    try:
        file = await run_in_threadpool(lambda: shared.explanations.export(format, components, Path(folder.name)))
    except BaseException:
        folder.cleanup()
        raise
    return FileResponse(file, media_type=_FILE, filename=file.name, background=BackgroundTask(folder.cleanup))


@router.get("/explanations/{number:int}", response_model=Explanation, summary="One explanation with its scores")
async def explanation(number: Number, shared: Shared) -> Response:
    return _json(await run_in_threadpool(lambda: encode(shared.explanations.get(number))))


@router.delete("/explanations/{number:int}", status_code=204, summary="Delete an explanation with its scores")
async def remove_explanation(number: Number, shared: Shared) -> None:
    await run_in_threadpool(lambda: shared.explanations.remove(number))


@router.get("/scores/{number:int}/strips", response_model=Strips, summary="The texts of a scoring")
async def score_strips(number: Number, shared: Shared) -> Response:
    return _json(await run_in_threadpool(lambda: encode(shared.explanations.strips(number))))
