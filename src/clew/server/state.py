"""What the routes share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from fastapi import Depends, Request

from .answers import Answers
from .browser import Browser
from .jobs import Jobs

if TYPE_CHECKING:
    from ..debug import Model


@dataclass(frozen=True)
class State:
    """The model, its worker, its answers and its components; kept in `app.state.clew` while the app runs."""

    model: Model
    jobs: Jobs
    answers: Answers
    browser: Browser


async def _state(request: Request) -> State:
    state: State = request.app.state.clew
    return state


Shared = Annotated[State, Depends(_state)]
