"""A language model behind an OpenAI-compatible address: its limits honoured, and what may pass tried again."""

from __future__ import annotations

from threading import Lock, Semaphore
from typing import TYPE_CHECKING, Any

import tenacity

from ...errors import LLMFailed, UnknownLLM
from ..store.answers import Answers
from .budget import Ledger
from .client import Answer, Capabilities, Request, about
from .dialect import Dialect
from .probing import probe
from .references import Reference
from .replies import chat_answer, completion_answer, used
from .waiting import LONGEST, Gate, pause, turn
from .wire import Passing, Refused, Wire, checked, told

if TYPE_CHECKING:
    from ...models.tape import Stop

FIRST_WAIT = 0.5  # seconds before the second try, on average; twice that before the third, and so on
_LONGEST_BACKOFF = 30.0  # seconds, where the server does not ask for more
_PROBE_RETRIES = 2


class Endpoint:
    """What is asked over HTTP; safe from several threads, of which `concurrency` send at once."""

    travels = None  # its limits hold for all who ask, so that one process does

    def __init__(
        self,
        reference: Reference,
        answers: Answers | None,
        ledger: Ledger,
        concurrency: int,
        timeout: float,
        retries: int,
    ) -> None:
        self.reference = str(reference)
        self.concurrency = concurrency
        self._model = reference.model
        self._answers = answers
        self._ledger = ledger
        self._retries = retries
        self._wire = Wire(reference, timeout, concurrency)
        self._gate = Gate()
        self._slots = Semaphore(concurrency)
        self._dialect: Dialect | None = None
        self._remembered = False
        self._probing = Lock()

    @property
    def identity(self) -> str:
        """Whose answers are kept: nobody outside knows the weights."""
        return self.reference

    @property
    def capabilities(self) -> Capabilities:
        """What it has, remembered. Raises UnknownLLM or LLMFailed."""
        return self._known(None)[0].capabilities

    def close(self) -> None:
        self._wire.close()

    def count(self, text: str) -> int:
        """About as many tokens as a text has."""
        return about(text)

    def send(self, request: Request, stop: Stop | None) -> Answer:
        """One answer, asked for as often as it takes. Raises LLMFailed, UnknownLLM, BudgetSpent or Cancelled."""
        outdated: Dialect | None = None
        while True:
            dialect, remembered = self._known(stop, outdated)
            try:
                self._check(request, dialect.capabilities)
                return self._tried(request, dialect, self._retries, stop, again=True)
            except Refused as refused:
                failure, lacking = told(refused, self.reference, self._wire.key), refused.status in (400, 422)
            except Passing as passing:
                failure, lacking = passing.failure, False
            except LLMFailed as failed:
                failure, lacking = failed, failed.kind == "unsupported"
            if not (lacking and remembered):
                raise failure
            # What is remembered may be of another server that had this address, or of this one before an update.
            outdated = dialect

    def _check(self, request: Request, has: Capabilities) -> None:
        """Raises LLMFailed for what it does not have."""
        chat = request.prompt is None
        if not (has.chat if chat else has.completions):
            lacks = "does not chat" if chat else "does not go on with a raw prompt"
        elif request.logprobs > has.logprobs:
            lacks = "does not tell as many log-probabilities of its answers"
        elif request.prompt_logprobs > has.prompt_logprobs:
            lacks = "does not tell as many log-probabilities of a prompt"
        else:
            return
        raise LLMFailed(f"{self.reference} {lacks}.", "Use another method, or another endpoint.", kind="unsupported")

    def _known(self, stop: Stop | None, outdated: Dialect | None = None) -> tuple[Dialect, bool]:
        """How to speak to it, and whether that is remembered from before; found out anew where that is `outdated`."""
        with turn(self._probing, stop):
            if self._dialect is None and self._answers is not None:
                kept = self._answers.dialect(self.reference)
                if kept is not None:
                    self._dialect, self._remembered = Dialect.of(kept), True
            if self._dialect is None or self._dialect is outdated:
                self._dialect, self._remembered = self._learned(stop), False
            return self._dialect, self._remembered

    def _learned(self, stop: Stop | None) -> Dialect:
        def ask(request: Request, dialect: Dialect) -> Answer:
            try:
                return self._tried(request, dialect, min(self._retries, _PROBE_RETRIES), stop, again=False)
            except Passing as passing:
                failure = passing.failure
                if not passing.reached:
                    failure = UnknownLLM(failure.message, failure.hint)
            raise failure

        try:
            dialect, sure = probe(ask)
        except Refused as refused:
            failure = told(refused, self.reference, self._wire.key)
        else:
            if sure and self._answers is not None:
                self._answers.learn(self.reference, dialect.to_dict())
            return dialect
        raise failure

    def _tried(self, request: Request, dialect: Dialect, retries: int, stop: Stop | None, again: bool) -> Answer:
        """An answer, from as many tries. `again`: a reply that is no answer is asked for again. Raises Passing or
        Refused, and LLMFailed for a reply that is no answer."""
        backoff = tenacity.wait_random_exponential(multiplier=2 * FIRST_WAIT, max=_LONGEST_BACKOFF)

        def wait(state: tenacity.RetryCallState) -> float:
            assert state.outcome is not None
            error = state.outcome.exception()
            asked = error.wait if isinstance(error, Passing) else None
            return backoff(state) if asked is None else asked + backoff(state) / 10

        trying = tenacity.Retrying(
            stop=tenacity.stop_after_attempt(retries + 1),
            wait=wait,
            retry=tenacity.retry_if_exception(lambda error: isinstance(error, Passing) and _soon(error)),
            sleep=lambda seconds: pause(seconds, stop),
            reraise=True,
        )
        return trying(self._once, request, dialect, stop, again)

    def _once(self, request: Request, dialect: Dialect, stop: Stop | None, again: bool) -> Answer:
        way, fields = dialect.body(self._model, request)
        # Until it is paid for, or another would be sent before this one is counted.
        with turn(self._slots, stop):
            self._gate.wait(stop)
            self._ledger.send()
            try:
                reply = self._wire.send(way, fields)
                if reply.wait is not None and reply.wait <= LONGEST:
                    self._gate.close(reply.wait)
                body = checked(reply, self.reference)
            except Passing as passing:
                if passing.paid:
                    self._ledger.pay(self.count(request.text), 0)
                raise
            return self._read(body, request, dialect, again)

    def _read(self, body: Any, request: Request, dialect: Dialect, again: bool) -> Answer:
        try:
            if request.prompt is None:
                answer = chat_answer(body, request, self.count)
            else:
                answer = completion_answer(body, request, self.count, dialect.repeats(request))
        except LLMFailed as failure:
            self._ledger.pay(*used(body, self.count(request.text), 0))
            if again and failure.kind == "malformed":
                raise Passing(failure) from None
            raise
        self._ledger.pay(answer.prompt_tokens, answer.completion_tokens)
        for tokens in (answer.tokens, answer.prompt):
            if self._wire.key.inside("".join(one.text for one in tokens or ())) or self._wire.key.inside(answer.text):
                raise LLMFailed(f"{self.reference} repeated the key that it was sent.", "Change that key.", "refused")
        return answer


def _soon(error: Passing) -> bool:
    return error.wait is None or error.wait <= LONGEST
