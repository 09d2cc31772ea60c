"""A server that speaks OpenAI's protocol over a real socket, keeps a log, and fails as it is told to."""

from __future__ import annotations

import json
import re
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"


@dataclass
class Asked:
    """One request as it came, and whether its reply was sent whole."""

    path: str
    fields: dict[str, Any]
    headers: Mapping[str, str]
    at: float
    done: bool = False

    @property
    def text(self) -> str:
        """The last thing that was said."""
        return self.fields["messages"][-1]["content"] if "messages" in self.fields else self.fields["prompt"]


Fault = Callable[["Handler", Asked], None]


@dataclass
class Powers:
    """What the server has. `lies`: it takes fields that it does not know, and ignores them; others are refused.
    `thinks`: in a hundred tokens, and says nothing of it, or this."""

    chat: bool = True
    completions: bool = True
    logprobs: int = 20
    echo: bool = True
    field: bool = False
    json: bool = True
    lies: bool = True
    whole_ten: bool = True
    limit: str = "max_tokens"
    usage: bool = True
    thinks: bool | str = False
    refused: tuple[str, ...] = ()


@dataclass
class Scripted:
    """The server. `faults` are used up one a request, by those that are not of a probe unless `strikes_probes`."""

    powers: Powers = field(default_factory=Powers)
    delay: float = 0.0
    headers: dict[str, str] = field(default_factory=dict)
    faults: deque[Fault | None] = field(default_factory=deque)
    always: Fault | None = None
    strikes_probes: bool = False
    log: list[Asked] = field(default_factory=list)
    url: str = ""
    at_once: int = 0
    most_at_once: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def reference(self) -> str:
        return f"scripted@{self.url}"

    @property
    def asked(self) -> list[Asked]:
        """The requests that are not of a probe."""
        return [one for one in self.log if not is_probe(one)]


def is_probe(asked: Asked) -> bool:
    return re.match(r"Reply with the (number 10|word hello)|apples\t10", asked.text) is not None


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    @property
    def script(self) -> Scripted:
        assert isinstance(self.server, Server)
        return self.server.script

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_POST(self) -> None:
        script = self.script
        fields = json.loads(self.rfile.read(int(self.headers["content-length"])))
        asked = Asked(self.path, fields, dict(self.headers), time.monotonic())
        with script.lock:
            script.log.append(asked)
            script.at_once += 1
            script.most_at_once = max(script.most_at_once, script.at_once)
            strikes = script.strikes_probes or not is_probe(asked)
            fault = (script.faults.popleft() if script.faults else script.always) if strikes else None
        try:
            if script.delay:
                time.sleep(script.delay)
            fault(self, asked) if fault is not None else self.answer(asked)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True
        finally:
            with script.lock:
                script.at_once -= 1

    def answer(self, asked: Asked) -> None:
        status, body = reply(self.script.powers, asked)
        self.send(status, json.dumps(body).encode())
        asked.done = status == 200

    def send(self, status: int, content: bytes, headers: Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {
            "content-type": "application/json",
            **self.script.headers,
            **(headers or {}),
        }.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
        self.wfile.flush()


class Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, script: Scripted) -> None:
        self.script = script
        super().__init__(("127.0.0.1", 0), Handler)


@contextmanager
def serving(script: Scripted) -> Iterator[Scripted]:
    """The server, at a port of its own."""
    server = Server(script)
    script.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield script
    finally:
        server.shutdown()
        server.server_close()


def reply(powers: Powers, asked: Asked) -> tuple[int, Any]:
    """What it says: to a probe what that asks for, to all else the question back."""
    fields = dict(asked.fields)
    chat = asked.path == CHAT
    if not (powers.chat if chat else powers.completions and asked.path == COMPLETIONS):
        return 404, {"error": {"message": "Not found"}}
    for name in powers.refused:
        if name in fields:
            return 400, {"error": {"message": f"Unsupported parameter: {name!r}.", "code": "unsupported_parameter"}}
    if chat and powers.limit not in fields:
        return 400, {"error": {"message": f"Use {powers.limit!r} instead."}}
    wanted = (fields.get("top_logprobs") if chat else fields.get("logprobs")) or 0
    lacks = {
        "logprobs": wanted > powers.logprobs,
        "echo": bool(fields.get("echo")) and not powers.echo,
        "prompt_logprobs": "prompt_logprobs" in fields and not powers.field,
        "response_format": "response_format" in fields and not powers.json,
    }
    if any(lacks.values()) and not powers.lies:
        return 400, {"error": {"message": f"Cannot do {', '.join(name for name, is_so in lacks.items() if is_so)}."}}
    said = asked.text
    if "number 10" in said:
        said = "10"
    elif "word hello" in said:
        said = '{"a": 1}' if "response_format" in fields and powers.json else "hello"
    elif not chat:
        said = " and so on"
    choice: dict[str, Any] = {"index": 0, "finish_reason": "stop"}
    if chat and powers.thinks:
        if fields[powers.limit] < 100:
            choice["finish_reason"], said = "length", ""
        if isinstance(powers.thinks, str):
            said = f"{powers.thinks}</think>\n{said}" if said else powers.thinks
    tokens = split(said, powers.whole_ten)
    shown = min(wanted, powers.logprobs)
    if chat:
        choice["message"] = {"role": "assistant", "content": said}
        if shown:
            choice["logprobs"] = {"content": [chat_token(one, shown) for one in tokens]}
    else:
        echo = fields.get("echo") and powers.echo
        before = split(fields["prompt"], powers.whole_ten)
        tokens = before + tokens if echo else tokens
        choice["text"] = "".join(tokens)
        if shown:
            choice["logprobs"] = {
                "tokens": tokens,
                "token_logprobs": [None, *[-0.5] * (len(tokens) - 1)] if echo else [-0.5] * len(tokens),
                "top_logprobs": [None if echo and i == 0 else dict(top(one, shown)) for i, one in enumerate(tokens)],
                "text_offset": [sum(map(len, tokens[:i])) for i in range(len(tokens))],
            }
        if powers.field and "prompt_logprobs" in fields:
            choice["prompt_logprobs"] = [
                None if i == 0 else {
                    str(j): {"logprob": value, "rank": j + 1, "decoded_token": text}
                    for j, (text, value) in enumerate(top(one, min(fields["prompt_logprobs"], powers.logprobs)))
                }
                for i, one in enumerate(before)
            ]  # fmt: skip
    body: dict[str, Any] = {"id": "1", "object": "x", "created": 1, "model": fields["model"], "choices": [choice]}
    if powers.usage:
        body["usage"] = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
    return 200, body


def split(text: str, whole_ten: bool = True) -> list[str]:
    """Tokens: a word with the space before it, a number, or a sign."""
    return re.findall(r"10| ?[^\W\d]+|\d|[\s\S]" if whole_ten else r" ?[^\W\d]+|\d|[\s\S]", text)


def top(text: str, most: int) -> list[tuple[str, float]]:
    """Alternatives to a token: itself with probability one half, and others with half of what is left."""
    return [(text if i == 0 else f"~{i}", -0.6931471805599453 * (i + 1)) for i in range(most)]


def chat_token(text: str, most: int) -> dict[str, Any]:
    tops = [{"token": name, "logprob": value, "bytes": list(name.encode())} for name, value in top(text, most)]
    return {"token": text, "logprob": tops[0]["logprob"], "bytes": list(text.encode()), "top_logprobs": tops}


def status(code: int, body: Any = None, **headers: str) -> Fault:
    """Answers with a status; underscores in names of headers stand for dashes."""

    def fault(handler: Handler, asked: Asked) -> None:
        content = body if isinstance(body, bytes) else json.dumps(body or {"error": {"message": "no"}}).encode()
        handler.send(code, content, {name.replace("_", "-"): value for name, value in headers.items()})

    return fault


def hang(handler: Handler, asked: Asked) -> None:
    """Says nothing for longer than anybody waits."""
    time.sleep(1.5)
    handler.close_connection = True


def hang_up(handler: Handler, asked: Asked) -> None:
    """Closes the connection without a word."""
    handler.close_connection = True


def cut_body(handler: Handler, asked: Asked) -> None:
    """Sends half of what it announced."""
    _, body = reply(handler.script.powers, asked)
    content = json.dumps(body).encode()
    handler.send_response(200)
    handler.send_header("content-type", "application/json")
    handler.send_header("content-length", str(len(content)))
    handler.end_headers()
    handler.wfile.write(content[: len(content) // 2])
    handler.close_connection = True


def cut_stream(handler: Handler, asked: Asked) -> None:
    """Sends a part of a chunked body and no end."""
    handler.send_response(200)
    handler.send_header("content-type", "application/json")
    handler.send_header("transfer-encoding", "chunked")
    handler.end_headers()
    handler.wfile.write(b'b\r\n{"choices":\r\n')
    handler.close_connection = True


def cut_json(handler: Handler, asked: Asked) -> None:
    """Sends a whole body that holds half a document."""
    _, body = reply(handler.script.powers, asked)
    handler.send(200, json.dumps(body).encode()[:-20])


def drip(handler: Handler, asked: Asked) -> None:
    """Sends a byte now and then, so that no single wait is long."""
    handler.send_response(200)
    handler.send_header("content-type", "application/json")
    handler.send_header("content-length", "100")
    handler.end_headers()
    for _ in range(100):
        handler.wfile.write(b" ")
        handler.wfile.flush()
        time.sleep(0.05)


def says(body: Any) -> Fault:
    """Answers 200 with this document."""
    return status(200, body)
