"""Explanations are found by what they mean, from a real socket's vectors."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
import pytest

from clew.errors import Cancelled, LLMFailed, UnknownLLM
from clew.explain.llm.embedding import Embedding
from clew.explain.store.explanations import Explanations
from clew.explain.store.similarity import embed, similar

from .made import explanation, score

# A text's vector counts these letters, so that cosines can be told by hand.
LETTERS = "xyz"


class Server(ThreadingHTTPServer):
    """Counts letters. `script` holds answers to give instead: (status, body), the first of them first."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.script: list[tuple[int, Any]] = []
        self.asked: list[list[str]] = []
        self.keys: list[str | None] = []

    @property
    def reference(self) -> str:
        return f"counter@http://127.0.0.1:{self.server_port}/v1"


class _Handler(BaseHTTPRequestHandler):
    server: Server  # type: ignore[assignment]

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        assert (self.path, asked["model"], asked["encoding_format"]) == ("/v1/embeddings", "counter", "float")
        self.server.asked.append(asked["input"])
        self.server.keys.append(self.headers["authorization"])
        rows = [
            {"index": at, "embedding": [text.count(letter) for letter in LETTERS]}
            for at, text in enumerate(asked["input"])
        ]
        status, body = self.server.script.pop(0) if self.server.script else (200, {"data": rows[::-1]})
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(content)))
        self.send_header("retry-after", "0")
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.delenv("CLEW_LLM_KEY", raising=False)
    server = Server()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def embedding(server: Server) -> Iterator[Embedding]:
    found = Embedding(server.reference)
    yield found
    found.close()


@pytest.fixture
def filled(kept: Explanations) -> Explanations:
    """Three explanations at known angles, and a candidate."""
    kept.add(explanation("neuron.0.0", "x", scores=(score(0.75),)))
    kept.add(explanation("neuron.1.0", "xy"))
    kept.add(explanation("neuron.2.0", "zzz"))
    kept.add(explanation("neuron.0.0", "xx", chosen=False))
    return kept


def test_the_nearest_come_first(filled: Explanations, embedding: Embedding, server: Server) -> None:
    assert similar(filled, "y", embedding) == []
    seen: list[tuple[int, int]] = []
    assert embed(filled, embedding, progress=lambda *of: seen.append(of)) == 3
    assert (server.asked[-1], seen) == (["x", "xy", "zzz"], [(3, 3)])
    # Cosines with xxy: 2/√5 = 0.894, 3/√10 = 0.949, 0.
    found = similar(filled, "xxy", embedding)
    assert [one.text for one in found] == ["xy", "x", "zzz"]
    assert found.total == 3
    page = similar(filled, "xxy", embedding, offset=1, limit=1)
    assert ([one.text for one in page], page.total, page[0].scores[0].value) == (["x"], 3, 0.75)
    assert [one.text for one in similar(filled, "z", embedding, layers=[0, 1], model="tiny")] == ["x", "xy"]
    assert [one.text for one in similar(filled, "z", embedding, min_score=0.5)] == ["x"]


def test_only_what_is_new_is_embedded(filled: Explanations, embedding: Embedding, server: Server) -> None:
    embed(filled, embedding)
    filled.add(explanation("neuron.3.0", "y"))
    assert embed(filled, embedding, model="big") == 0
    assert (embed(filled, embedding), embed(filled, embedding)) == (1, 0)
    assert server.asked[1:] == [["y"]]
    filled.remove(1)
    assert similar(filled, "x", embedding).total == 3


def test_many_are_asked_a_few_at_a_time_and_a_stop_keeps_what_was_made(
    kept: Explanations, embedding: Embedding, server: Server
) -> None:
    kept.add_all(explanation(f"neuron.0.{number}", f"x{number}") for number in range(150))
    with pytest.raises(Cancelled):
        embed(kept, embedding, stop=lambda: bool(server.asked))
    assert embed(kept, embedding) == 150 - 64
    assert [len(texts) for texts in server.asked] == [64, 64, 22]


def test_what_may_pass_is_asked_again(filled: Explanations, embedding: Embedding, server: Server) -> None:
    server.script = [(429, {"error": {"message": "slow down"}}), (503, {}), (500, {})]
    assert embed(filled, embedding) == 3
    assert len(server.asked) == 4


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (404, {"error": {"message": "no such model"}}, UnknownLLM),
        (401, {"error": {"message": "who are you?"}}, UnknownLLM),
        (400, {"error": {"message": "too long"}}, LLMFailed),
        (200, {"data": []}, LLMFailed),
        (200, {"data": [{"index": 0, "embedding": ["a"]}]}, LLMFailed),
        (200, {"data": [{"index": 1, "embedding": [1.0]}]}, LLMFailed),
        (200, {"data": [{"index": 0, "embedding": 1.0}]}, LLMFailed),
        (200, {"choices": []}, LLMFailed),
        (200, [1], LLMFailed),
    ],
)
def test_what_is_no_answer_is_told(embedding: Embedding, server: Server, status: int, body: Any, kind: type) -> None:
    server.script = [(status, body)]
    with pytest.raises(kind, match="counter@"):
        embedding.vectors(["x"])
    assert len(server.asked) == 1


def test_vectors_have_length_one(embedding: Embedding) -> None:
    np.testing.assert_allclose(embedding.vectors(["xxy", "zz"]), [[2 / 5**0.5, 1 / 5**0.5, 0], [0, 0, 1]], rtol=1e-6)
    assert not embedding.vectors(["no such letters"]).any()


def test_the_key_goes_to_the_server_alone(
    filled: Explanations, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLEW_LLM_KEY", "sk-secret-123")
    embedding = Embedding(server.reference)
    server.script = [(401, {"error": {"message": "sk-secret-123 is not known"}})]
    with pytest.raises(UnknownLLM) as raised:
        embed(filled, embedding)
    embedding.close()
    assert server.keys == ["Bearer sk-secret-123"]
    assert "secret" not in str(raised.value) and "secret" not in embedding.reference


def test_a_local_model_embeds_nothing() -> None:
    with pytest.raises(UnknownLLM, match="no embedding model"):
        Embedding("local:smollm2")
