"""Language models asked in the name of other processes: one limit, one budget and one memory for all of them.

What asks from elsewhere is in distant.py. A model of this machine is not asked here but where the work is done: of it
the desk knows what was answered before, and what may still be asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from threading import Condition
from typing import TYPE_CHECKING, Any

from ...errors import Cancelled
from .asking import Remembering
from .budget import Ledger
from .client import LLM, Answer, Request

if TYPE_CHECKING:
    from ...models.tape import Stop


@dataclass(frozen=True)
class Able:
    """What can the model with this reference be asked? The reply are its Capabilities."""

    llm: str


@dataclass(frozen=True)
class Ask:
    """Ask it these. The reply is what `LLM.ask_all` gives."""

    llm: str
    requests: tuple[Request, ...]


@dataclass(frozen=True)
class Begin:
    """Was it asked this before? The reply is that Answer; or None, and then it may be asked."""

    llm: str
    identity: str
    request: Request


@dataclass(frozen=True)
class Keep:
    """This is what it answered."""

    llm: str
    identity: str
    request: Request
    answer: Answer


@dataclass(frozen=True)
class Know:
    """An answer to it was known already."""

    llm: str


Question = Able | Ask | Begin | Keep | Know


class Desk:
    """Answers what is asked of some language models, from several threads at once, until it is closed."""

    def __init__(self, llms: Sequence[LLM], stop: Stop) -> None:
        self._llms = {llm.reference: llm for llm in llms}
        self._stop = stop
        self._open, self._at_work = True, 0
        self._changed = Condition()

    def __call__(self, question: Question) -> Any:
        """The reply. Raises LLMFailed, UnknownLLM, BudgetSpent, BadDatabase, NoSpace or Cancelled."""
        with self._changed:
            if not self._open:
                raise Cancelled("The work that this was asked for has ended.")
            self._at_work += 1
        try:
            return self._reply(self._llms[question.llm], question)
        finally:
            with self._changed:
                self._at_work -= 1
                self._changed.notify_all()

    def close(self) -> None:
        """Answer no more, once what is under way is kept."""
        with self._changed:
            self._open = False
            self._changed.wait_for(lambda: not self._at_work)

    def _reply(self, llm: LLM, question: Question) -> Any:
        if isinstance(question, Able):
            return llm.capabilities
        if isinstance(question, Ask):
            return llm.ask_all(question.requests, self._stop)
        assert isinstance(llm, Remembering)
        ledger = llm.ledger
        assert isinstance(ledger, Ledger)
        match question:
            case Begin(identity=identity, request=request):
                known = None if llm.answers is None else llm.answers.known(identity, request)
                if known is None:
                    ledger.check()
                return known
            case Keep(identity=identity, request=request, answer=answer):
                ledger.book(answer.cost)
                if llm.answers is not None:
                    llm.answers.keep(identity, llm.reference, request, answer)
            case Know():
                ledger.know()
        return None
