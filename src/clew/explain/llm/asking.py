"""Asking once: what was answered before is not asked again, and what is asked twice at once is sent once."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotYet
from dataclasses import replace
from threading import Event, Lock
from typing import TYPE_CHECKING, Any, Protocol

from ...errors import BudgetSpent, Cancelled, LLMFailed
from ..records import Cost
from .budget import Account
from .client import Answer, Capabilities, Request
from .waiting import given_up

if TYPE_CHECKING:
    from ...models.subject import SubjectModel
    from ...models.tape import Stop

_LOOKS = 0.05  # seconds between two looks at whether to give up


class Asked(Protocol):
    """A language model that answers whatever it is sent, at a price."""

    @property
    def reference(self) -> str: ...

    @property
    def identity(self) -> str:
        """Who answers, weights included where they are known."""
        ...

    @property
    def concurrency(self) -> int: ...

    @property
    def capabilities(self) -> Capabilities: ...

    @property
    def travels(self) -> SubjectModel | None:
        """The model that goes along with work that is given to another process; None: it is asked from here."""
        ...

    def send(self, request: Request, stop: Stop | None) -> Answer:
        """Raises LLMFailed, UnknownLLM, BudgetSpent or Cancelled."""
        ...

    def count(self, text: str) -> int: ...
    def close(self) -> None: ...


class Memory(Protocol):
    """What was answered before: store/answers.py."""

    def known(self, asked: str, request: Request) -> Answer | None: ...
    def keep(self, asked: str, reference: str, request: Request, answer: Answer) -> None: ...


class Remembering:
    """The LLM of a model that is asked: its answers are kept the moment they come. See `LLM`."""

    def __init__(self, asked: Asked, answers: Memory | None, ledger: Account) -> None:
        self.answers = answers
        self.ledger = ledger
        self._asked = asked
        self._lock = Lock()
        self._under_way: dict[Request, Future[Answer]] = {}

    def __repr__(self) -> str:
        return f"LLM({self.reference})"

    def __reduce__(self) -> tuple[Any, ...]:
        """Travels to another process as its reference, and asks at the desk of this one there."""
        from .distant import arrived

        return arrived, (self.reference, self._asked.travels)

    @property
    def reference(self) -> str:
        return self._asked.reference

    @property
    def capabilities(self) -> Capabilities:
        return self._asked.capabilities

    @property
    def spent(self) -> Cost:
        return self.ledger.spent

    def count(self, text: str) -> int:
        return self._asked.count(text)

    def close(self) -> None:
        self._asked.close()

    def ask(self, request: Request, stop: Stop | None = None) -> Answer:
        given_up(stop)
        while True:
            with self._lock:
                other = self._under_way.get(request)
                if other is None:
                    mine = self._under_way[request] = Future()
                    break
            answer = _awaited(other, stop)
            if answer is not None:
                self.ledger.know()
                return replace(answer, known=True)
        try:
            answer = self._answer(request, stop)
        except BaseException as error:
            mine.set_exception(error)
            raise
        else:
            mine.set_result(answer)
            return answer
        finally:
            with self._lock:
                del self._under_way[request]

    def ask_all(self, requests: Sequence[Request], stop: Stop | None = None) -> list[Answer | LLMFailed]:
        halt = Event()

        def ended() -> bool:
            return halt.is_set() or (stop is not None and stop())

        def one(request: Request) -> Answer | LLMFailed:
            try:
                return self.ask(request, ended)
            except LLMFailed as failure:
                return failure
            except BaseException:
                halt.set()
                raise

        if not requests:
            return []
        # The block waits for what is under way, so that it is kept, however it is left.
        with ThreadPoolExecutor(min(self._asked.concurrency, len(requests)), "llm") as pool:
            asked = [pool.submit(one, request) for request in requests]
            try:
                errors = [error for each in asked if (error := each.exception()) is not None]
            except BaseException:
                halt.set()
                raise
        # The others were cancelled because of the one that says why.
        for error in sorted(errors, key=lambda error: isinstance(error, Cancelled)):
            raise error
        return [each.result() for each in asked]

    def _answer(self, request: Request, stop: Stop | None) -> Answer:
        if self.answers is None:
            return self._asked.send(request, stop)
        known = self.answers.known(self._asked.identity, request)
        if known is not None:
            self.ledger.know()
            return known
        answer = self._asked.send(request, stop)
        self.answers.keep(self._asked.identity, self.reference, request, answer)
        return answer


def _awaited(other: Future[Answer], stop: Stop | None) -> Answer | None:
    """What another thread is answered; None when it gave up, and this one has to ask itself."""
    while True:
        try:
            return other.result(timeout=_LOOKS)
        except NotYet:
            if not other.done():
                given_up(stop)
        except (Cancelled, BudgetSpent):
            return None
