"""A language model in this process: what it says is what its logits say, and the subject is left as it was."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from clew.debug import Model
from clew.errors import BudgetSpent, Cancelled, LLMFailed, UnknownModel
from clew.explain.llm import Budget, local, open_llm
from clew.explain.llm.client import LLM, Message, Request
from clew.explain.store.answers import Answers

_TEXT = "When Mary and John went to the store, John gave"
_CHAT_TEMPLATE = "{% for m in messages %}<{{ m.role }}>{{ m.content }}\n{% endfor %}<assistant>"
_NO_SYSTEM = "{% if messages[0].role == 'system' %}{{ raise_exception('no system turn') }}{% endif %}" + _CHAT_TEMPLATE


@pytest.fixture
def llm(model: Model) -> LLM:
    return _of(model)


def _of(model: Model, answers: Answers | None = None, budget: Budget | None = None) -> LLM:
    return open_llm(f"local:{model.name}", subject=model.subject, answers=answers, budget=budget)


@torch.no_grad()
def _logprobs(model: Model, text: str) -> torch.Tensor:
    """log P(next token) at every position, by the plain forward pass of transformers."""
    ids = torch.tensor([model.subject.encode(text)])
    return model.subject.hf(ids, use_cache=False).logits[0].float().log_softmax(-1)


def test_a_prompt_is_told_as_its_logits_say(llm: LLM, model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "_CHUNK", 4)
    answer = llm.ask(Request(prompt=_TEXT, prompt_logprobs=3, max_tokens=0))
    ids, expected = model.subject.encode(_TEXT), _logprobs(model, _TEXT)
    assert answer.prompt is not None
    assert "".join(one.text for one in answer.prompt) == _TEXT
    assert [_TEXT[one.start :].startswith(one.text) for one in answer.prompt] == [True] * len(ids)
    assert answer.prompt[0].top == ()
    for position, one in enumerate(answer.prompt[1:]):
        best = expected[position].topk(3)
        assert [text for text, _ in one.top] == [model.subject.text(i) for i in best.indices.tolist()]
        assert [value for _, value in one.top] == pytest.approx(best.values.tolist(), abs=1e-4)
    assert (answer.text, answer.finish, answer.prompt_tokens, answer.completion_tokens) == ("", "stop", len(ids), 0)


def test_only_what_begins_late_enough_is_told(llm: LLM) -> None:
    whole = llm.ask(Request(prompt=_TEXT, prompt_logprobs=2, max_tokens=0))
    part = llm.ask(Request(prompt=_TEXT, prompt_logprobs=2, prompt_from=15, max_tokens=0))
    assert whole.prompt is not None
    assert part.prompt == tuple(one for one in whole.prompt if one.start >= 15)
    assert part.prompt is not None
    assert 0 < len(part.prompt) < len(whole.prompt)


def test_a_continuation_is_the_likeliest_token_each_time(llm: LLM, model: Model) -> None:
    answer = llm.ask(Request(prompt=_TEXT, max_tokens=5, logprobs=2))
    assert answer.tokens is not None
    ids, text = model.subject.encode(_TEXT), ""
    for one in answer.tokens:
        with torch.no_grad():
            row = model.subject.hf(torch.tensor([ids]), use_cache=False).logits[0, -1].log_softmax(-1)
        best = row.topk(2)
        assert one.top[0][0] == one.text == model.subject.text(int(best.indices[0]))
        assert [value for _, value in one.top] == pytest.approx(best.values.tolist(), abs=1e-3)
        assert one.start == len(text)
        ids.append(int(best.indices[0]))
        text = model.subject.decode(ids[-answer.tokens.index(one) - 1 :])
    assert answer.completion_tokens == len(answer.tokens) == 5
    assert answer.finish == "length"


def test_a_seed_draws_the_same_and_another_another(llm: LLM) -> None:
    def drawn(seed: int, temperature: float = 5.0) -> str:
        return llm.ask(Request(prompt=_TEXT, max_tokens=8, temperature=temperature, seed=seed)).text

    assert drawn(1) == drawn(1)
    assert len({drawn(seed) for seed in range(5)}) > 1
    assert drawn(1, 1e-6) == drawn(2, 1e-6) == llm.ask(Request(prompt=_TEXT, max_tokens=8)).text


def test_an_answer_ends_at_an_end_token(llm: LLM, model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    full = llm.ask(Request(prompt=_TEXT, max_tokens=5, logprobs=1))
    assert full.tokens is not None
    third = full.tokens[2].text
    end = next(i for i in range(model.info().vocab_size) if model.subject.text(i) == third)
    monkeypatch.setattr(model.subject.hf.generation_config, "eos_token_id", [end])
    short = _of(model).ask(Request(prompt=_TEXT, max_tokens=5, logprobs=1))
    first = next(i for i, one in enumerate(full.tokens) if one.text == third)
    assert short.finish == "stop"
    assert short.tokens == full.tokens[:first]


@pytest.mark.parametrize("template", [_CHAT_TEMPLATE, _NO_SYSTEM], ids=["any turn", "no system turn"])
def test_a_chat_is_put_as_the_template_says(template: str, model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not _of(model).capabilities.chat
    with pytest.raises(LLMFailed, match="does not chat") as caught:
        _of(model).ask(Request((Message("user", "hi"),)))
    assert caught.value.kind == "unsupported"
    monkeypatch.setattr(model.tokenizer, "chat_template", template)
    llm = _of(model)
    assert llm.capabilities.chat
    chat = llm.ask(Request((Message("system", "Be brief."), Message("user", "hi")), max_tokens=4))
    said = "<user>Be brief.\n\nhi\n" if template is _NO_SYSTEM else "<system>Be brief.\n<user>hi\n"
    raw = llm.ask(Request(prompt=f"{said}<assistant>", max_tokens=4))
    assert (chat.text, chat.prompt_tokens) == (raw.text, raw.prompt_tokens)


def test_what_is_too_long_is_refused_and_what_just_fits_is_not(llm: LLM, model: Model) -> None:
    longest = model.subject.max_length
    fits = " store" * longest
    assert len(model.subject.encode(fits)) == longest
    assert llm.ask(Request(prompt=fits, prompt_logprobs=2, max_tokens=0)).prompt_tokens == longest
    with pytest.raises(LLMFailed, match="reads at most"):
        llm.ask(Request(prompt=fits, max_tokens=1))
    short = " store" * (longest - 2)
    assert llm.ask(Request(prompt=short, max_tokens=50)).completion_tokens <= 2
    with pytest.raises(LLMFailed, match="asked nothing"):
        llm.ask(Request(prompt=""))


def test_the_subject_is_left_as_it_was(model: Model, answers: Answers) -> None:
    llm = _of(model, answers=answers)
    run = model.debug(_TEXT, " Mary", " John")
    before = [(one.id, one.direct_effect) for one in run.nodes(top=10)]
    requests = [Request(prompt=_TEXT, max_tokens=3, seed=n, temperature=1.0) for n in range(6)]
    found: list[object] = []
    with model.subject.lock:  # somebody's hooks are set
        thread = threading.Thread(target=lambda: found.append(llm.ask_all(requests)))
        thread.start()
        thread.join(0.2)
        assert not found
    thread.join()
    assert len(found) == 1
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.subject.hf.modules())
    after = model.debug(_TEXT, " Mary", " John")
    assert [(one.id, one.direct_effect) for one in after.nodes(top=10)] == before


def test_answers_are_kept_by_the_weights_that_gave_them(tiny: Callable[[str], Model], answers: Answers) -> None:
    llama = tiny("llama").subject
    other = type(llama)(**{**vars(tiny("gpt2").subject), "name": llama.name})
    request = Request(prompt=_TEXT, max_tokens=3)
    first = open_llm(f"local:{llama.name}", subject=llama, answers=answers)
    assert not first.ask(request).known
    assert first.ask(request).known
    assert not open_llm(f"local:{llama.name}", subject=other, answers=answers).ask(request).known
    assert first.spent.requests == 1


def test_it_has_a_budget_and_can_be_stopped(model: Model) -> None:
    llm = _of(model, budget=Budget(tokens=1))
    first = llm.ask(Request(prompt=_TEXT, max_tokens=3))
    assert (llm.spent.prompt_tokens, llm.spent.completion_tokens) == (first.prompt_tokens, first.completion_tokens)
    with pytest.raises(BudgetSpent):
        llm.ask(Request(prompt=_TEXT, max_tokens=2))
    asked = 0

    def after_two() -> bool:
        nonlocal asked
        asked += 1
        return asked > 5

    with pytest.raises(Cancelled):
        _of(model).ask(Request(prompt=_TEXT, max_tokens=40), after_two)


def test_it_is_loaded_by_its_name_where_it_is_not_there(model: Model) -> None:
    loaded = open_llm(f"local:{model.path}")
    request = Request(prompt=_TEXT, max_tokens=3)
    assert loaded.ask(request) == _of(model).ask(request)
    with pytest.raises(UnknownModel):
        open_llm("local:no-such-model-here/at all")


@settings(max_examples=50, deadline=None)
@given(st.text(max_size=15))  # a token a byte, and the tiny model reads 64
def test_tokens_of_any_text_start_where_they_stand_in_it(model: Model, text: str) -> None:
    llm = _of(model)
    if not llm.count(text):
        return
    answer = llm.ask(Request(prompt=text, prompt_logprobs=1, max_tokens=0))
    assert answer.prompt is not None
    assert answer.prompt_tokens == len(answer.prompt) == llm.count(text)
    at = [one.start for one in answer.prompt]
    assert at == sorted(at)
    for one in answer.prompt:
        if "\ufffd" not in one.text:
            assert text[one.start :].startswith(one.text)


def test_ten_is_a_token_to_some(tiny: Callable[[str], Model], smollm2: Model) -> None:
    assert _of(smollm2).capabilities.whole_ten is False
    assert _of(tiny("llama")).capabilities.whole_ten is False
    assert _of(smollm2).capabilities.chat
    assert _of(smollm2).count("The cat sat") == 3
