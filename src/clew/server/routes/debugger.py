"""The debugger page: tokens as one types, answers, node tables, one node, the lens."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from starlette.concurrency import run_in_threadpool

from ...errors import EmptyPrompt
from ..answers import encode
from ..schemas import (
    Answer,
    Lens,
    NodeDetail,
    NodeQuestion,
    NodeTable,
    PromptText,
    Question,
    TableQuestion,
    Text,
    TokenCheck,
    Tokens,
)
from ..state import Shared

router = APIRouter(tags=["debugger"])


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
