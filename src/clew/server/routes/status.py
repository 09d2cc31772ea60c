"""The server at a glance, and the models on this machine."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.concurrency import run_in_threadpool

from ... import __version__, settings
from ...models import store
from ..schemas.status import ExampleQuestion, InstalledModel, Limits, ModelInfo, Queue, Status
from ..state import Shared

router = APIRouter(tags=["status"])


@router.get("/status", summary="Version, model, example question, queue and limits")
async def status(shared: Shared) -> Status:
    return Status(
        version=__version__,
        model=ModelInfo(**shared.model.info().to_dict()),
        example=ExampleQuestion(
            prompt=settings.EXAMPLE_PROMPT, target=settings.EXAMPLE_TARGET, distractor=settings.EXAMPLE_DISTRACTOR
        ),
        queue=Queue(running=shared.jobs.running, waiting=shared.jobs.waiting),
        limits=Limits(
            max_prompt_chars=settings.MAX_PROMPT_CHARS,
            max_token_chars=settings.MAX_TOKEN_CHARS,
            max_tokens_per_side=settings.MAX_TOKENS_PER_SIDE,
        ),
    )


@router.get("/models", summary="Models that are installed")
async def models() -> list[InstalledModel]:
    # Where they lie is not told: a path can name the user.
    found = await run_in_threadpool(store.installed)
    return [
        InstalledModel(name=model.name, family=model.family, bytes=model.bytes, parameters=model.parameters)
        for model in found
    ]
