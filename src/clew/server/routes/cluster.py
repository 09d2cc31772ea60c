"""The cluster that work runs on."""

from __future__ import annotations

from fastapi import APIRouter, Response
from starlette.concurrency import run_in_threadpool

from ..answers import encode
from ..schemas.base import ErrorReply
from ..schemas.cluster import Cluster
from ..state import Shared

router = APIRouter(tags=["cluster"])


@router.get(
    "/cluster",
    response_model=Cluster,
    responses={503: {"model": ErrorReply, "description": "There is no cluster where the server was told of one."}},
    summary="The machines of the cluster that work runs on, and what workers are at",
)
async def cluster(shared: Shared) -> Response:
    return Response(await run_in_threadpool(lambda: encode(shared.cluster.status())), media_type="application/json")
