"""Texts as vectors, from an OpenAI-compatible endpoint's /embeddings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import tenacity
from jaxtyping import Float32

from ... import settings
from ...errors import LLMFailed, UnknownLLM
from .dialect import EMBEDDINGS
from .references import read_reference
from .waiting import given_up, pause
from .wire import Passing, Refused, Wire, checked, told

if TYPE_CHECKING:
    from ...models.tape import Stop

_FIRST_WAIT, _LONGEST_WAIT = 0.5, 30.0  # seconds


class Embedding:
    """An embedding model by its reference, MODEL@URL or MODEL alone; nothing is sent yet. Keys are those of `open_llm`.

    Raises UnknownLLM for a name that is none.
    """

    def __init__(
        self, reference: str, timeout: float = settings.LLM_TIMEOUT, retries: int = settings.LLM_RETRIES
    ) -> None:
        named = read_reference(reference)
        if named.url is None:
            raise UnknownLLM("A local model is no embedding model.", "Name one as MODEL@URL.")
        self.reference = str(named)
        self._model, self._retries = named.model, retries
        self._wire = Wire(named, timeout, 1)

    def close(self) -> None:
        """Close the connection."""
        self._wire.close()

    def vectors(self, texts: Sequence[str], stop: Stop | None = None) -> Float32[np.ndarray, "n d"]:
        """A vector of length 1 for each text. Raises LLMFailed, UnknownLLM or Cancelled."""
        backoff = tenacity.wait_random_exponential(multiplier=2 * _FIRST_WAIT, max=_LONGEST_WAIT)

        def wait(state: tenacity.RetryCallState) -> float:
            error = state.outcome.exception() if state.outcome is not None else None
            asked = error.wait if isinstance(error, Passing) else None
            return backoff(state) if asked is None else min(asked, _LONGEST_WAIT)

        trying = tenacity.Retrying(
            stop=tenacity.stop_after_attempt(self._retries + 1),
            wait=wait,
            retry=tenacity.retry_if_exception_type(Passing),
            sleep=lambda seconds: pause(seconds, stop),
            reraise=True,
        )
        try:
            return _vectors(trying(self._asked, texts, stop), len(texts), self.reference)
        except Refused as refused:
            failure = told(refused, self.reference, self._wire.key)
        except Passing as passing:
            failure = passing.failure
        raise failure  # out here, without what the library's error holds

    def _asked(self, texts: Sequence[str], stop: Stop | None) -> Any:
        given_up(stop)
        fields = {"model": self._model, "input": list(texts), "encoding_format": "float"}
        return checked(self._wire.send(EMBEDDINGS, fields), self.reference)


def _vectors(body: Any, n: int, name: str) -> Float32[np.ndarray, "n d"]:
    try:
        rows = sorted(body["data"], key=lambda row: row["index"])
        found = np.array([row["embedding"] for row in rows], np.float32)
        if [row["index"] for row in rows] != list(range(n)) or found.ndim != 2 or not np.isfinite(found).all():
            raise ValueError
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        got = "something else" if not isinstance(body, Mapping) else "other vectors than were asked for"
        raise LLMFailed(f"{name} answered with {got}.", "See whether it is an embedding model.", "malformed") from error
    return found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), np.finfo(np.float32).tiny)
