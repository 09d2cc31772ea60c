"""What the routes share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from fastapi import Depends, Request

from .answers import Answers
from .attached import Attached
from .browser import Browser
from .jobs import Jobs
from .trainings import Trainings

if TYPE_CHECKING:
    from ..debug import Model


@dataclass(frozen=True)
class State:
    """The model, its worker, its answers, components, autoencoders and trainings.

    Kept in `app.state.clew` while the app runs.
    """

    model: Model
    jobs: Jobs
    answers: Answers
    browser: Browser
    autoencoders: Attached
    trainings: Trainings


async def _state(request: Request) -> State:
    state: State = request.app.state.clew
    return state


Shared = Annotated[State, Depends(_state)]
