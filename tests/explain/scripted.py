"""A language model whose answers are written down: what is done with them can be held to the truth."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from clew.errors import LLMFailed
from clew.explain.llm.client import Answer, Capabilities, Request
from clew.explain.records import Cost
from clew.models.tape import Stop

CHAT = Capabilities(chat=True, completions=True, logprobs=0, prompt_logprobs=0, json=False, whole_ten=None)
RAW = Capabilities(chat=False, completions=True, logprobs=0, prompt_logprobs=0, json=False, whole_ten=None)


class ScriptedLLM:
    """Answers as `answer` says: with a text, a whole Answer, or a failure. `asked` has all requests in order."""

    reference = "scripted"

    def __init__(
        self, answer: Callable[[Request], str | Answer | LLMFailed], capabilities: Capabilities = CHAT
    ) -> None:
        self._answer = answer
        self.capabilities = capabilities
        self.asked: list[Request] = []
        self.spent = Cost()

    def ask(self, request: Request, stop: Stop | None = None) -> Answer:
        self.asked.append(request)
        said = self._answer(request)
        if isinstance(said, LLMFailed):
            raise said
        if isinstance(said, str):
            said = Answer(said, "stop", self.count(request.text), self.count(said))
        self.spent += said.cost
        return said

    def ask_all(self, requests: Sequence[Request], stop: Stop | None = None) -> list[Answer | LLMFailed]:
        answers: list[Answer | LLMFailed] = []
        for request in requests:
            try:
                answers.append(self.ask(request, stop))
            except LLMFailed as failed:
                answers.append(failed)
        return answers

    def close(self) -> None: ...

    def count(self, text: str) -> int:
        return -(-len(text.encode()) // 4)
