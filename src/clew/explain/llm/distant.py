"""Language models of work that was given away: an endpoint is asked at the desk of who gave it, a local model here.

Neither connection, key nor budget travels: each stays with the one who gave the work (desk.py). A local model travels
as its place, and is loaded where it is asked, so that several processes are as many times as fast.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from ...errors import LLMFailed
from ..records import Cost
from .asking import Remembering
from .client import LLM, Answer, Capabilities, Request, about
from .desk import Able, Ask, Begin, Keep, Know, Question
from .waiting import given_up

if TYPE_CHECKING:
    from ...models.subject import SubjectModel
    from ...models.tape import Stop
    from ...pool import Desk


class Away:
    """What asks at a desk, once it is told which."""

    desk: Desk


def arrived(reference: str, subject: SubjectModel | None) -> LLM:
    """The language model of a reference, in a process that it travelled to; `subject` is a local one's model."""
    return Distant(reference) if subject is None else Nearby(subject)


class Distant(Away):
    """The LLM of an endpoint that another process asks. See `LLM`."""

    def __init__(self, reference: str) -> None:
        self.reference = reference

    @property
    def capabilities(self) -> Capabilities:
        """As they were when first asked for."""
        return self._capabilities

    @cached_property
    def _capabilities(self) -> Capabilities:
        return self.desk(Able(self.reference))

    @property
    def spent(self) -> Cost:
        """Nothing here: the desk counts."""
        return Cost()

    def count(self, text: str) -> int:
        return about(text)

    def close(self) -> None:
        """The connection is the desk's."""

    def ask(self, request: Request, stop: Stop | None = None) -> Answer:
        (answer,) = self.ask_all([request], stop)
        if isinstance(answer, LLMFailed):
            raise answer
        return answer

    def ask_all(self, requests: Sequence[Request], stop: Stop | None = None) -> list[Answer | LLMFailed]:
        given_up(stop)
        return self.desk(Ask(self.reference, tuple(requests))) if requests else []


class Nearby(Away, Remembering):
    """The LLM of a model in this process, whose answers and budget are another's. See `LLM`."""

    def __init__(self, subject: SubjectModel) -> None:
        from .local import Local

        books = _Books(self)
        local = Local(subject, books)
        books.reference = local.reference
        super().__init__(local, books, books)


class _Books:
    """Answers and ledger, kept at the desk: it is asked before each answer, and told after."""

    reference = ""

    def __init__(self, owner: Away) -> None:
        self._owner = owner

    def known(self, asked: str, request: Request) -> Answer | None:
        return self._ask(Begin(self.reference, asked, request))

    def keep(self, asked: str, reference: str, request: Request, answer: Answer) -> None:
        self._ask(Keep(reference, asked, request, answer))

    def know(self) -> None:
        self._ask(Know(self.reference))

    def send(self) -> None:
        """The desk has said that it may be."""

    def pay(self, prompt_tokens: int, completion_tokens: int) -> None:
        """The desk is told with the answer."""

    @property
    def spent(self) -> Cost:
        """Nothing here: the desk counts."""
        return Cost()

    def _ask(self, question: Question) -> Any:
        return self._owner.desk(question)
