"""From the name of a language model to one that can be asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ... import settings
from ...errors import UsageError
from .budget import Budget, Ledger
from .client import LLM
from .references import Reference, read_reference

if TYPE_CHECKING:
    from ...models.subject import SubjectModel
    from ..store.answers import Answers


def open_llm(
    reference: str,
    *,
    answers: Answers | None = None,
    budget: Budget | None = None,
    concurrency: int = settings.CONCURRENCY,
    timeout: float = settings.LLM_TIMEOUT,
    retries: int = settings.LLM_RETRIES,
    subject: SubjectModel | None = None,
) -> LLM:
    """A language model by its reference: MODEL@URL, MODEL alone (at $OPENAI_BASE_URL, or OpenAI) or local:MODEL.

    What it answers is kept in `answers`, and what is in there is not asked again. `budget` may be shared by several.
    `timeout` is in seconds for one answer, and what may pass is tried `retries` times more. A local model that is
    loaded already is given as `subject`. Nothing is sent yet. Raises UnknownLLM for a name that is none or a key that
    cannot be sent, UsageError, and for a local model what `clew.load` raises.
    """
    from .asking import Remembering

    if concurrency < 1 or timeout <= 0 or retries < 0:
        raise UsageError(
            "A language model is asked one thing at once or more, in some time, and is tried again 0 times or more.",
            f"The defaults are {settings.CONCURRENCY}, {settings.LLM_TIMEOUT:g} s and {settings.LLM_RETRIES}.",
        )
    named = read_reference(reference)
    ledger = Ledger(Budget() if budget is None else budget)
    if named.url is None:
        from .local import Local

        return Remembering(Local(_loaded(named, subject), ledger), answers, ledger)
    from .endpoint import Endpoint

    return Remembering(Endpoint(named, answers, ledger, concurrency, timeout, retries), answers, ledger)


def _loaded(named: Reference, subject: SubjectModel | None) -> SubjectModel:
    from ...models.subject import load_subject

    return subject if subject is not None and subject.name == named.model else load_subject(named.model)
