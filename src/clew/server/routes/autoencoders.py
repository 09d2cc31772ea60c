"""Autoencoders: the shelf, trainings, reports."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request, Response
from starlette.concurrency import run_in_threadpool
from starlette.convertors import PathConvertor, register_url_convertor

from ... import settings
from ..answers import encode
from ..events import STREAMS, EventStream
from ..schemas.base import ErrorReply
from ..schemas.sae import (
    AddRequest,
    Autoencoders,
    EvaluationProgress,
    JudgeRequest,
    ListedAutoencoder,
    Rated,
    RatingRequest,
    Report,
    Trainings,
    TrainingState,
    TrainPoints,
    TrainRequest,
)
from ..state import Shared

router = APIRouter(tags=["autoencoders"])

Name = Annotated[
    str, Path(max_length=250, description="An autoencoder's name in the list; one of a training is TRAINING/NAME.")
]
Training = Annotated[str, Path(pattern=settings.FOLDER_NAME, description="A training's name.")]
After = Annotated[int | None, Query(ge=0, le=2**53, description="Only rows of later steps.")]


class _Whole(PathConvertor):
    """A name with all its slashes, and nothing of what is asked about it."""

    regex = r"(?!.*/(?:report|ratings/[^/]*)$).+"


register_url_convertor("whole", _Whole())

_Responses = dict[int | str, dict[str, Any]]
_CONFLICT: _Responses = {
    409: {"model": ErrorReply, "description": "Something else is there, or it is of another model."}
}
_FULL: _Responses = {507: {"model": ErrorReply, "description": "The disk is full; what was complete is kept."}}
_HUB: _Responses = {502: {"model": ErrorReply, "description": "The Hugging Face hub could not be reached."}}


def _json(body: bytes) -> Response:
    return Response(body, media_type="application/json")


@router.get("/autoencoders", response_model=Autoencoders, summary="What was given with --sae, and the shelf")
async def autoencoders(shared: Shared) -> Response:
    return _json(await run_in_threadpool(lambda: encode({"rows": shared.autoencoders.infos().to_dict()})))


@router.post(
    "/autoencoders",
    response_model=ListedAutoencoder,
    responses={**_CONFLICT, **_FULL, **_HUB},
    summary="Take an autoencoder onto the shelf",
)
async def add_autoencoder(body: AddRequest, shared: Shared) -> Response:
    return _json(await run_in_threadpool(lambda: encode(shared.autoencoders.add(body).to_dict())))


@router.delete(
    "/autoencoders/{name:whole}", status_code=204, responses=_CONFLICT, summary="Take an autoencoder off the shelf"
)
async def remove_autoencoder(name: Name, shared: Shared) -> None:
    await run_in_threadpool(lambda: shared.autoencoders.remove(name))


@router.get("/autoencoders/{name:path}/report", response_model=Report, summary="What an autoencoder is worth")
async def report(name: Name, shared: Shared) -> Response:
    return _json(await run_in_threadpool(lambda: encode(shared.autoencoders.report(name).to_dict())))


@router.post(
    "/autoencoders/{name:path}/report",
    openapi_extra=STREAMS,
    response_model=EvaluationProgress | Report,
    response_description="Server-sent events; closing the connection cancels.",
    responses={**_CONFLICT, **_FULL, **_HUB},
    summary="Judge an autoencoder; events progress and done",
)
async def judge(request: Request, name: Name, body: JudgeRequest, shared: Shared) -> Response:
    return EventStream(await shared.jobs.stream(request, lambda stop: shared.autoencoders.judge(name, body, stop)))


@router.put(
    "/autoencoders/{name:path}/ratings/{index}",
    response_model=Rated,
    responses=_FULL,
    summary="Keep what a person thinks of a latent",
)
async def rate(
    name: Name, index: Annotated[int, Path(ge=0, le=2**31 - 1)], body: RatingRequest, shared: Shared
) -> Rated:
    await run_in_threadpool(lambda: shared.autoencoders.rate(name, index, body.rating))
    return Rated(index=index, rating=body.rating)


@router.get("/trainings", response_model=Trainings, summary="The trainings on this machine")
async def trainings(shared: Shared) -> Response:
    return _json(await run_in_threadpool(lambda: encode(shared.trainings.listed())))


@router.post("/trainings", response_model=TrainingState, responses={**_CONFLICT, **_FULL}, summary="Start a training")
async def start_training(body: TrainRequest, shared: Shared) -> Response:
    return _json(await run_in_threadpool(lambda: encode(shared.trainings.start(body).to_dict())))


@router.get("/trainings/{name}", response_model=TrainingState, summary="How far a training is")
async def training(name: Training, shared: Shared) -> Response:
    return _json(await run_in_threadpool(lambda: encode(shared.trainings.state(name).to_dict())))


@router.get("/trainings/{name}/log", response_model=TrainPoints, summary="A training's log")
async def training_log(name: Training, shared: Shared, after: After = None) -> Response:
    return _json(await run_in_threadpool(lambda: encode({"rows": shared.trainings.log(name, after).to_dict()})))


@router.get(
    "/trainings/{name}/events",
    openapi_extra=STREAMS,
    response_model=TrainingState | TrainPoints,
    response_description="Server-sent events; the last is a state that is not running.",
    summary="A training as it goes: events state and points",
)
async def training_events(request: Request, name: Training, shared: Shared, after: After = None) -> Response:
    await run_in_threadpool(lambda: shared.trainings.state(name))  # one that is not there is told with its status
    return EventStream(shared.trainings.events(request, name, after))


@router.post("/trainings/{name}/stop", response_model=TrainingState, summary="Have a training save and stop")
async def stop_training(name: Training, shared: Shared) -> Response:
    return _json(await run_in_threadpool(lambda: encode(shared.trainings.stop(name).to_dict())))


@router.post(
    "/trainings/{name}/resume", response_model=TrainingState, responses=_CONFLICT, summary="Go on with a training"
)
async def resume_training(name: Training, shared: Shared) -> Response:
    return _json(await run_in_threadpool(lambda: encode(shared.trainings.resume(name).to_dict())))


@router.delete(
    "/trainings/{name}",
    status_code=204,
    responses=_CONFLICT,
    summary="Delete a training with its log, checkpoint and autoencoders",
)
async def remove_training(name: Training, shared: Shared) -> None:
    await run_in_threadpool(lambda: shared.trainings.remove(name))
