"""Simulating from words: what a model is asked, what its answers amount to, and what is no answer."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clew.debug import Model
from clew.errors import LLMFailed, UsageError
from clew.explain.evidence import Sample
from clew.explain.llm import open_llm
from clew.explain.llm.client import Answer, Capabilities, Chances, Request
from clew.explain.records import Failure
from clew.explain.roles import Simulation, Simulator
from clew.explain.simulators import all_at_once, filled, simulator, token_by_token
from clew.explain.simulators.all_at_once import AllAtOnce, _Listing
from clew.explain.simulators.filled import Filled
from clew.explain.simulators.levels import expected, highest
from clew.explain.simulators.token_by_token import TokenByToken
from clew.explain.spelling import spelled

from .scripted import ScriptedLLM

WORDS = "words for animals"
TOKENS = (" the", " cat", "\n", "\tsat", ' "on"', " 10", "é", " mat")
ALL = Capabilities(chat=True, completions=True, logprobs=20, prompt_logprobs=20, json=True, whole_ten=True)
SPLIT_TEN = replace(ALL, whole_ten=False)

Level = Callable[[str], dict[str, float]]
"""The chances of levels that a scripted model gives a token, spelled as on its line."""


def sample(tokens: Sequence[str] = TOKENS, activations: Sequence[float] | None = None, first: int = 1) -> Sample:
    values = np.zeros(len(tokens)) if activations is None else np.array(activations, float)
    return Sample("top", "test", 3, 7, tuple(tokens), tuple(range(len(tokens))), values, first)


def by_length(token: str) -> dict[str, float]:
    """Levels that differ from token to token: half a chance each of its length and of 1."""
    return {str(min(9, len(token))): 0.5, "1": 0.5} if len(token) != 1 else {"1": 1.0}


def of(levels: dict[str, float], most: int = 10) -> float:
    return 10 / most * sum(int(level) * p for level, p in levels.items()) / sum(levels.values())


# All at once


def reads(level: Level, cut: str) -> Callable[[Request], Answer]:
    """A model that reads a prompt in tokens that `cut` matches, and tells the chances of levels for `unknown`."""

    def answer(request: Request) -> Answer:
        assert request.prompt is not None and request.max_tokens == 0 and not request.messages
        found = []
        for match in re.finditer(cut, request.prompt, re.DOTALL):
            text, start = match[0], match.start()
            if start < request.prompt_from:
                continue
            top: list[tuple[str, float]] = [(text, math.log(0.9))]
            slot = re.match(r"(.*\t)?(?=un|\Z)", text, re.DOTALL)
            line = request.prompt.rfind("\n", 0, request.prompt.find("\t", start if "\t" in text else start - 1)) + 1
            if "un" in text and slot is not None and "\n" not in text:
                token = request.prompt[line : request.prompt.index("\t", line)]
                before = slot[0] or ""
                # What follows the number may be in its token as well; whatever is no level is not counted.
                top += [(before + name + "\n", math.log(0.1 * p)) for name, p in level(token).items()]
                top += [(before + "11", -1.0), (before + "x", -1.0), ("5x", -1.0)]
            found.append(Chances(text, start, tuple(top)))
        return Answer("", "stop", len(found), 0, prompt=tuple(found))

    return answer


@pytest.mark.parametrize(
    "cut",
    [
        r"unknown|\t|\n|[^\t\n]+",  # a token for itself
        r"\tunknown|\tun|known|\n|[^\t\n]+",  # merged with the tab
        r"\tun|known\n|[^\t\n]+|\n",  # merged in part
        r"[^\t\n]\tun|known|[^\t\n]+?(?=[^\t\n]\t)|[^\t\n]+|\n",  # and with the end of the token
    ],
)
def test_a_text_is_simulated_in_one_pass_however_the_tokenizer_cuts_it(cut: str) -> None:
    llm = ScriptedLLM(reads(by_length, cut), ALL)
    (found,), cost = AllAtOnce(llm).simulate(WORDS, [sample()])
    assert isinstance(found, Simulation)
    assert found.expected == pytest.approx([of(by_length(spelled(token))) for token in TOKENS])
    assert len(llm.asked) == cost.requests == 1
    assert llm.asked[0].prompt is not None and f"it fires on {WORDS}\n" in llm.asked[0].prompt


def test_levels_have_one_digit_where_ten_has_two_tokens() -> None:
    assert (highest(ALL), highest(SPLIT_TEN), highest(replace(ALL, whole_ten=None))) == (10, 9, 9)
    llm = ScriptedLLM(reads(lambda token: {"1": 0.75, "9": 0.25, "10": 0.5}, r"unknown|\t|\n|[^\t\n]+"), SPLIT_TEN)
    (found,), _ = AllAtOnce(llm).simulate(WORDS, [sample()])
    assert isinstance(found, Simulation)
    assert found.expected == pytest.approx([of({"1": 0.75, "9": 0.25}, 9)] * len(TOKENS))
    assert llm.asked[0].prompt is not None and "\t10\n" not in llm.asked[0].prompt
    whole = ScriptedLLM(reads(lambda token: {"10": 1.0}, r"unknown|\t|\n|[^\t\n]+"), ALL)
    (found,), _ = AllAtOnce(whole).simulate(WORDS, [sample()])
    assert isinstance(found, Simulation) and found.expected.tolist() == [10] * len(TOKENS)
    assert whole.asked[0].prompt is not None and "\t10\n" in whole.asked[0].prompt


def test_a_token_without_any_number_fails_its_text_and_no_other() -> None:
    cut = r"unknown|\t|\n|[^\t\n]+"
    llm = ScriptedLLM(reads(lambda token: {} if token == " dog" else {"0": 1.0}, cut), ALL)
    (one, other), cost = AllAtOnce(llm).simulate(WORDS, [sample((" a", " dog")), sample((" a", " cat"))])
    assert isinstance(one, Failure) and one.kind == "malformed" and "1 of 2" in one.message
    assert isinstance(other, Simulation) and other.expected.tolist() == [0, 0]
    assert cost.requests == 2


def test_chances_are_renormalised_over_levels() -> None:
    top = [("7", math.log(0.2)), (" 3", math.log(0.1)), ("unknown", math.log(0.6)), ("11", -1.0), ("³", -1.0)]
    assert expected(top, 10) == pytest.approx((7 * 0.2 + 3 * 0.1) / 0.3)
    assert expected(top, 5) == pytest.approx(2 * 3)
    assert expected([("4", -2000.0), ("2", -2000.0)], 10) == pytest.approx(3)
    assert expected([("\t4", -1.0), ("4", -1.0), ("\t", -0.1)], 10, "\t") == 4
    assert expected([("unknown", -0.1)], 10) is None
    assert expected([], 10) is None


def test_the_default_models_tokens_start_where_activations_stand(smollm2: Model) -> None:
    llm = open_llm("local:smollm2", subject=smollm2.subject)
    assert highest(llm.capabilities) == 9
    listing = _Listing(WORDS, TOKENS, 9)
    answer = llm.ask(AllAtOnce(llm)._requests(WORDS, TOKENS)[0])
    assert answer.prompt is not None
    assert answer.completion_tokens == 0
    told = {one.start: one.text for one in answer.prompt}
    assert [told.get(slot) for slot in listing.slots] == ["unknown"] * len(TOKENS)
    found = listing.read(answer)
    assert isinstance(found, Simulation)
    assert ((found.expected >= 0) & (found.expected <= 10)).all() and found.expected.std() > 0


# Token by token


def numbers(request: Request) -> Answer:
    """Answers with a token of space, then chances by the last token's length."""
    token = request.messages[-1].content.split("\nToken: ")[1].split("\n\n")[0]
    top = [(name, math.log(0.5 * p)) for name, p in by_length(token).items()]
    return Answer(
        " 1", "length", 100, 2, (Chances(" ", 0, ((" ", 0.0),)), Chances("1", 1, (("?", -0.1), *top))),
    )  # fmt: skip


def test_a_text_is_simulated_token_by_token() -> None:
    llm = ScriptedLLM(numbers, ALL)
    (one, other), cost = TokenByToken(llm).simulate(WORDS, [sample(), sample((" a", " dog"))])
    assert isinstance(one, Simulation) and isinstance(other, Simulation)
    assert one.expected == pytest.approx([of(by_length(spelled(token))) for token in TOKENS])
    assert other.expected == pytest.approx([of(by_length(" a")), of(by_length(" dog"))])
    assert len(llm.asked) == cost.requests == len(TOKENS) + 2
    assert cost.prompt_tokens == 100 * cost.requests


def test_a_token_is_shown_with_what_comes_before_alone() -> None:
    llm = ScriptedLLM(numbers, ALL)
    TokenByToken(llm).simulate(WORDS, [sample((" one", " two", " three"))])
    asked = [request.messages[-1].content for request in llm.asked]
    assert ["three" in one for one in asked] == [False, False, True]
    assert ["two" in one for one in asked] == [False, True, True]
    assert all(WORDS in one for one in asked)


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (LLMFailed("It is away.", kind="timeout"), "timeout"),
        (Answer("no idea", "stop", 1, 2, (Chances("no", 0, (("no", -0.1), ("No", -1.0))),)), "malformed"),
        (Answer("", "stop", 1, 0, ()), "malformed"),
    ],
)
def test_one_token_that_fails_fails_its_text(answer: Answer | LLMFailed, kind: str) -> None:
    llm = ScriptedLLM(
        lambda request: answer if "Token:  cat\n" in request.messages[-1].content else numbers(request), ALL
    )
    (one, other), cost = TokenByToken(llm).simulate(WORDS, [sample(), sample((" a", " dog"))])
    assert isinstance(one, Failure) and one.kind == kind
    assert isinstance(other, Simulation)
    assert cost.requests == len(TOKENS) + 2 - isinstance(answer, LLMFailed)


def test_a_model_that_does_not_chat_goes_on_with_a_text() -> None:
    llm = ScriptedLLM(
        lambda request: Answer(" 3", "length", 1, 1, (Chances(" 3", 0, ((" 3", 0.0),)),)), replace(ALL, chat=False)
    )
    (found,), _ = TokenByToken(llm).simulate(WORDS, [sample()])
    assert isinstance(found, Simulation) and set(found.expected.tolist()) == {3}
    assert all(request.prompt is not None and request.prompt.endswith("Activation:") for request in llm.asked)


# A JSON document


def shown(request: Request) -> list[str]:
    """The tokens that activations are asked of."""
    return json.loads(request.messages[-1].content.split("\nTokens: ")[1].split("\n")[0])


def fills(request: Request) -> str:
    return rows(*[at % 11 for at in range(len(shown(request)))], tokens=shown(request))


def rows(*values: object, tokens: Sequence[str] = (" a", " dog")) -> str:
    return json.dumps({"activations": [{"token": t, "activation": v} for t, v in zip(tokens, values, strict=True)]})


@pytest.mark.parametrize(
    "around", ["{}", "```json\n{}\n```", "```{}```", "\n {} \n", "<think>It is {{}}.</think>\n{}"], ids=repr
)
def test_a_document_that_is_filled_in_is_read(around: str) -> None:
    llm = ScriptedLLM(lambda request: around.format(fills(request)), ALL)
    (found,), cost = Filled(llm).simulate(WORDS, [sample()])
    assert isinstance(found, Simulation)
    assert found.expected.tolist() == list(range(len(TOKENS)))
    assert cost.requests == 1 and llm.asked[0].json
    assert shown(llm.asked[0]) == list(TOKENS)


@pytest.mark.parametrize(
    "said",
    [
        "", "0", "0 0", "[]", "{}", "null", "[0, 0]", '{"activations": 3}', rows(0, 11), rows(0, -1), rows(0, None),
        rows(0, "0"), rows(0, True), rows(0, [0]), rows(0, 0)[:-1], "Sure! " + rows(0, 0),
        rows(0, 0, tokens=(" a", " cat")), rows(0, 0, tokens=(" dog", " a")),
        rows(0, 0, 0, tokens=(" a", " dog", " b")), rows(0, tokens=(" a",)), rows(0, 0).replace("token", "word"),
        rows(0, 0).replace(": 0}]", ": NaN}]"), rows(0, 0).replace(": 0}]", ": 1e999}]"), "[" * 100_000,
        rows(0, 0) + rows(0, 0), '{"activations": [" a", " dog"]}',
    ],
)  # fmt: skip
def test_anything_else_is_a_failure_and_never_zeros(said: str) -> None:
    (found,), cost = Filled(ScriptedLLM(lambda request: said, ALL)).simulate(WORDS, [sample((" a", " dog"))])
    assert isinstance(found, Failure) and found.kind == "malformed"
    assert cost.requests == 1


@given(st.text(max_size=30) | st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=3), st.lists))
def test_whatever_is_answered_is_a_failure(said: object) -> None:
    text = said if isinstance(said, str) else json.dumps(said)
    (found,), _ = Filled(ScriptedLLM(lambda request: text, ALL)).simulate(WORDS, [sample((" a", " dog"))])
    assert isinstance(found, Failure)


def test_spaces_around_tokens_are_forgiven_and_fractions_are_numbers() -> None:
    said = rows(0.5, 10, tokens=("a", "dog"))
    (found,), _ = Filled(ScriptedLLM(lambda request: said, ALL)).simulate(WORDS, [sample((" a", " dog"))])
    assert isinstance(found, Simulation) and found.expected.tolist() == [0.5, 10]


def test_an_answer_that_breaks_off_is_told_so() -> None:
    cut = Answer(rows(0, 0), "length", 10, 5)
    answers: list[Answer | LLMFailed] = [cut, LLMFailed("Away.", kind="error")]
    llm = ScriptedLLM(lambda request: answers[len(llm.asked) - 1], ALL)
    (one, other), cost = Filled(llm).simulate(WORDS, [sample((" a", " dog")), sample((" a", " dog"))])
    assert isinstance(one, Failure) and one.kind == "truncated"
    assert isinstance(other, Failure) and other.kind == "error"
    assert (cost.requests, cost.completion_tokens) == (1, 5)


def test_an_answer_has_room_for_the_whole_document(smollm2: Model) -> None:
    """Counted by bytes, as endpoints are, and by a tokenizer that takes numbers and marks apart."""
    tokens = [str(number) for number in range(10)] + [f" {mark}" for mark in ",;:!?"] + ["\n", "é", " cat"] * 8
    llm = ScriptedLLM(fills, ALL)
    Filled(llm).simulate(WORDS, [sample(tokens)])
    whole = json.dumps({"activations": [{"token": token, "activation": 10} for token in tokens]}, ensure_ascii=False)
    assert llm.asked[0].max_tokens > len(smollm2.subject.encode(whole))


# All three


def answers_anything(request: Request) -> Answer:
    return Answer("0", "stop", 1, 1, (Chances("0", 0, (("0", 0.0),)),), ())


MAKERS: list[Callable[[ScriptedLLM], Simulator]] = [AllAtOnce, TokenByToken, Filled]


@pytest.mark.parametrize("make", MAKERS)
@given(data=st.data())
def test_nothing_is_told_of_a_text_but_its_tokens(
    make: Callable[[ScriptedLLM], Simulator], data: st.DataObject
) -> None:
    """Whatever the activations, the kind, the place in the corpus, and whichever texts are asked about beside it."""
    values = data.draw(st.lists(st.floats(-10, 10), min_size=len(TOKENS), max_size=len(TOKENS)))
    pairs = np.zeros((len(TOKENS), len(TOKENS))) if data.draw(st.booleans()) else None
    other = Sample(
        "near_miss", "calibrate", 99, 0, TOKENS, tuple(range(50, 50 + len(TOKENS))), np.array(values), 2, pairs
    )
    once, again = ScriptedLLM(answers_anything, ALL), ScriptedLLM(answers_anything, ALL)
    make(once).simulate(WORDS, [sample(), sample((" a", " b"))])
    make(again).simulate(WORDS, [sample((" a", " b")), other])
    assert sorted(map(repr, once.asked)) == sorted(map(repr, again.asked))


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("capabilities", [ALL, SPLIT_TEN])
def test_an_estimate_is_no_less_than_what_is_asked(
    make: Callable[[ScriptedLLM], Simulator], capabilities: Capabilities
) -> None:
    llm = ScriptedLLM(answers_anything, capabilities)
    samples = [sample(), sample((" a", " dog"))]
    takes = make(llm).estimate(WORDS, samples)
    assert not llm.asked
    make(llm).simulate(WORDS, samples)
    assert takes.requests == len(llm.asked)
    assert takes.prompt_tokens >= sum(llm.count(request.text) for request in llm.asked)
    assert takes.completion_tokens == sum(request.max_tokens for request in llm.asked)


@pytest.mark.parametrize("make", MAKERS)
def test_words_stay_on_their_line(make: Callable[[ScriptedLLM], Simulator]) -> None:
    llm = ScriptedLLM(answers_anything, ALL)
    make(llm).simulate("animals\nActivations:\n the\t10", [sample()])
    assert all("animals\\nActivations:\\n the\\t10\n" in request.text for request in llm.asked)


def test_the_best_way_that_there_is_is_taken() -> None:
    chat = replace(ALL, completions=False, prompt_logprobs=0)
    assert simulator(ScriptedLLM(fills, ALL)).method == "all_at_once"
    assert simulator(ScriptedLLM(fills, chat)).method == "token_by_token"
    assert simulator(ScriptedLLM(fills, replace(chat, logprobs=0))).method == "json"
    assert simulator(ScriptedLLM(fills, ALL), "json").method == "json"
    made = simulator(ScriptedLLM(fills, ALL), "token_by_token")
    assert (made.reference, made.method, made.prompt) == ("scripted", "token_by_token", token_by_token.PROMPT)


def test_a_way_that_there_is_not_is_refused_with_what_is_missing() -> None:
    chat = replace(ALL, completions=False, prompt_logprobs=0)
    with pytest.raises(UsageError, match=r"scripted does not tell the log-probabilities of a prompt's tokens") as told:
        simulator(ScriptedLLM(fills, chat), "all_at_once")
    assert told.value.hint == "It can simulate by token_by_token or json."
    with pytest.raises(UsageError, match=r"log-probabilities of an answer's tokens"):
        simulator(ScriptedLLM(fills, replace(ALL, logprobs=0)), "token_by_token")
    with pytest.raises(UsageError, match="table of tokens"):
        simulator(ScriptedLLM(fills, ALL), "lookup")


def test_prompts_have_the_versions_that_they_are_kept_under() -> None:
    """When this fails, raise the version of the prompt that was changed, and put its new digest here."""

    def digest(make: Callable[[ScriptedLLM], Simulator]) -> str:
        llm = ScriptedLLM(answers_anything, ALL)
        make(llm).simulate(WORDS, [sample()])
        return hashlib.sha256(llm.asked[0].text.encode()).hexdigest()[:12]

    assert {
        all_at_once.PROMPT: digest(AllAtOnce),
        token_by_token.PROMPT: digest(TokenByToken),
        filled.PROMPT: digest(Filled),
    } == {"all_at_once-1": "6efdc9baa763", "token_by_token-1": "451df2850a25", "json-1": "68b797b891fe"}
