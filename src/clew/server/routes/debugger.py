"""The debugger page: tokens as one types, answers, node tables, one node, the lens."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from starlette.concurrency import run_in_threadpool

from ...errors import EmptyPrompt
from ..answers import encode
from ..events import STREAMS, EventStream
from ..schemas.base import ErrorReply, PromptText
from ..schemas.debugger import (
    Alignment,
    Answer,
    ComparedAnswers,
    GenerateDone,
    GeneratedToken,
    Lens,
    NodeDetail,
    NodeTable,
    Pattern,
    SweepCells,
    SweepDone,
    SweepStart,
    TokenCheck,
    Tokens,
    VerifiedRows,
    VerifyDone,
    VerifyStart,
)
from ..schemas.questions import (
    AlignQuestion,
    CompareQuestion,
    GenerateQuestion,
    NodeQuestion,
    PatternQuestion,
    Question,
    SweepQuestion,
    TableQuestion,
    Text,
    VerifyQuestion,
)
from ..state import Shared

router = APIRouter(
    tags=["debugger"],
    responses={
        404: {"model": ErrorReply, "description": "No autoencoder has a name that was given."},
        409: {"model": ErrorReply, "description": "An autoencoder that was named is not of this model."},
    },
)

_EVENTS = "Server-sent events; closing the connection cancels. What fails after the first event is an `error` event."


# Answers are encoded where they are made, off the event loop; `response_model` describes them, and the tests check it.
def _json(body: bytes) -> Response:
    return Response(body, media_type="application/json")


@router.post("/tokens", response_model=Tokens, summary="A text as the model's tokenizer splits it")
async def tokens(body: PromptText, shared: Shared) -> Response:
    def work() -> bytes:
        try:
            found = shared.model.tokens(body.text, body.bos).to_dict()
        except EmptyPrompt:
            found = []
        return encode({"tokens": found})

    return _json(await run_in_threadpool(work))


@router.post("/token", response_model=TokenCheck, summary="Whether a text can be a target or distractor")
async def token(body: Text, shared: Shared) -> Response:
    return _json(await run_in_threadpool(lambda: encode(shared.model.check_token(body.text).to_dict())))


@router.post("/debug", response_model=Answer, summary="Why the targets rather than the distractors")
async def debug(request: Request, body: TableQuestion, shared: Shared) -> Response:
    return _json(await shared.jobs.run(request, lambda stop: shared.answers.debug(body, stop)))


@router.post("/nodes", response_model=NodeTable, summary="The node table under other filters")
async def nodes(request: Request, body: TableQuestion, shared: Shared) -> Response:
    return _json(await shared.jobs.run(request, lambda stop: shared.answers.nodes(body, stop)))


@router.post("/node", response_model=NodeDetail, summary="What one node pushes and what excites it")
async def node(request: Request, body: NodeQuestion, shared: Shared) -> Response:
    return _json(await shared.jobs.run(request, lambda stop: shared.answers.node(body, body.node, stop)))


@router.post("/lens", response_model=Lens, summary="The logit lens at every layer and token")
async def lens(request: Request, body: Question, shared: Shared) -> Response:
    return _json(await shared.jobs.run(request, lambda stop: shared.answers.lens(body, stop)))


@router.post(
    "/compare", response_model=ComparedAnswers, summary="With edits against without, or one prompt against another"
)
async def compare(request: Request, body: CompareQuestion, shared: Shared) -> Response:
    return _json(await shared.jobs.run(request, lambda stop: shared.answers.compare(body, stop)))


@router.post("/align", response_model=Alignment, summary="Two prompts token by token")
async def align(body: AlignQuestion, shared: Shared) -> Response:
    return _json(await run_in_threadpool(lambda: shared.answers.align(body)))


@router.post("/pattern", response_model=Pattern, summary="A head's attention on every token")
async def pattern(request: Request, body: PatternQuestion, shared: Shared) -> Response:
    return _json(await shared.jobs.run(request, lambda stop: shared.answers.pattern(body, stop)))


@router.post(
    "/verify",
    openapi_extra=STREAMS,
    response_model=VerifyStart | VerifiedRows | VerifyDone,
    response_description=_EVENTS,
    summary="What ablating nodes costs, measured; events start, rows and done",
)
async def verify(request: Request, body: VerifyQuestion, shared: Shared) -> Response:
    return EventStream(await shared.jobs.stream(request, lambda stop: shared.answers.verify(body, stop)))


@router.post(
    "/sweep",
    openapi_extra=STREAMS,
    response_model=SweepStart | SweepCells | SweepDone,
    response_description=_EVENTS,
    summary="Every place patched from the second prompt; events start, cells and done",
)
async def sweep(request: Request, body: SweepQuestion, shared: Shared) -> Response:
    return EventStream(await shared.jobs.stream(request, lambda stop: shared.answers.sweep(body, stop)))


@router.post(
    "/generate",
    openapi_extra=STREAMS,
    response_model=GeneratedToken | GenerateDone,
    response_description=_EVENTS,
    summary="The text that the model goes on with, under the edits; events token and done",
)
async def generate(request: Request, body: GenerateQuestion, shared: Shared) -> Response:
    return EventStream(await shared.jobs.stream(request, lambda stop: shared.answers.generate(body, stop)))
