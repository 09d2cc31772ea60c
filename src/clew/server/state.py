"""What the routes share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from fastapi import Depends, Request

from .answers import Answers
from .attached import Attached
from .browser import Browser
from .cluster import Lookout
from .explaining import Explaining
from .jobs import Jobs
from .trainings import Trainings

if TYPE_CHECKING:
    from ..debug import Model


@dataclass(frozen=True)
class State:
    """The model, its worker, its answers, components, autoencoders, trainings and explanations, and the cluster.

    `jobs` run the model, one at a time; those of `asking` wait for others, language models or workers of the cluster,
    beside them. Kept in `app.state.clew` while the app runs.
    """

    model: Model
    jobs: Jobs
    asking: Jobs
    answers: Answers
    browser: Browser
    autoencoders: Attached
    trainings: Trainings
    explanations: Explaining
    cluster: Lookout

    @property
    def collecting(self) -> Jobs:
        """The jobs that an atlas is collected among."""
        return self.jobs if self.cluster.place.address is None else self.asking


async def _state(request: Request) -> State:
    state: State = request.app.state.clew
    return state


Shared = Annotated[State, Depends(_state)]
