"""Tokens and bad input, on the default model's real tokenizer."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import clew
from clew.debug import Model
from clew.errors import (
    BadDirection,
    BadNode,
    BadText,
    ClewError,
    EmptyPrompt,
    NotFinite,
    NotOneToken,
    PositionOutOfRange,
    PromptTooLong,
    UsageError,
)
from clew.settings import MAX_PROMPT_CHARS

# GPT-2's spelling of bytes as characters (Radford et al. 2019, encoder.py).
_PRINTABLE = [*range(33, 127), *range(161, 173), *range(174, 256)]
_OTHERS = [byte for byte in range(256) if byte not in _PRINTABLE]
BYTE_CHARACTERS = {byte: chr(byte) for byte in _PRINTABLE} | {b: chr(256 + i) for i, b in enumerate(_OTHERS)}

any_unicode = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
with_surrogates = st.text(st.characters(), max_size=60)
generous = settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])

PART = "\ufffd"  # how part of a character is shown


@generous
@given(any_unicode.filter(bool))
def test_tokens_of_any_text_decode_to_it(smollm2: Model, text: str) -> None:
    try:
        tokens = smollm2.tokens(text)
    except BadText:
        # The vocabulary lacks some bytes: refusing is right only then.
        vocabulary = smollm2.tokenizer.get_vocab()
        assert any(BYTE_CHARACTERS[byte] not in vocabulary for byte in text.encode())
        return
    assert [token.position for token in tokens] == list(range(len(tokens)))
    assert smollm2.tokenizer.decode([t.id for t in tokens], clean_up_tokenization_spaces=False) == text


@generous
@given(with_surrogates)
def test_any_field_is_checked_or_refused_in_a_sentence(smollm2: Model, text: str) -> None:
    if any("\ud800" <= char <= "\udfff" for char in text):
        with pytest.raises(BadText, match="surrogate"):
            smollm2.check_token(text)
        return
    found = smollm2.check_token(text)
    assert found.ok == (len(found.tokens) == 1 and PART not in text)
    assert found.ok or found.warning
    for fix in found.fixes:
        assert smollm2.check_token(fix).ok


@pytest.mark.parametrize("text", [PART, f" {PART}", "\u4eca"])
def test_part_of_a_character_is_neither_a_token_nor_a_fix(smollm2: Model, text: str) -> None:
    found = smollm2.check_token(text)
    assert not found.ok
    assert all(PART not in fix for fix in found.fixes)


def test_a_word_without_its_space_is_warned_of(smollm2: Model) -> None:
    found = smollm2.check_token("Mary")
    assert "leading space" in found.warning
    assert found.fixes == [" Mary"]
    assert smollm2.check_token(" Mary").warning == ""


def test_several_tokens_are_refused_with_what_was_meant(smollm2: Model) -> None:
    found = smollm2.check_token(" Mary ")
    assert not found.ok
    assert " Mary" in found.fixes
    with pytest.raises(NotOneToken, match="Did you mean ' Mary'"):
        smollm2.debug("Hello", target=" Mary ")


@pytest.mark.parametrize(
    ("kind", "question"),
    [
        (EmptyPrompt, {"prompt": ""}),
        (BadText, {"prompt": "half \ud83d"}),
        (BadText, {"prompt": "a", "target": "\udc00"}),
        (PromptTooLong, {"prompt": " a" * 9000}),
        (PromptTooLong, {"prompt": "a" * (MAX_PROMPT_CHARS + 1)}),
        (NotOneToken, {"prompt": "a", "target": " indirect object"}),
        (NotOneToken, {"prompt": "a", "target": ""}),
        (NotOneToken, {"prompt": "a", "target": "x" * 10_000}),
        (BadDirection, {"prompt": "a", "target": " b", "distractor": " b"}),
        (BadDirection, {"prompt": "a", "target": [" b"] * 65}),
        (PositionOutOfRange, {"prompt": "a b", "position": 2}),
        (PositionOutOfRange, {"prompt": "a b", "position": -1}),
    ],
)
def test_bad_questions_get_a_sentence_and_a_hint(smollm2: Model, kind: type[ClewError], question: dict) -> None:
    with pytest.raises(kind) as caught:
        smollm2.debug(**question)
    assert caught.value.message.endswith((".", "?"))
    assert caught.value.hint.endswith((".", "?"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "node",
    ["attn.30.0@0", "attn.0.9@0", "neuron.0.1536@0", "attn.0.0@2", "attn.0.0", "embed@2", "bias.attn.0", "direct",
     "latent.mlp_out.0.0@0", "error.resid.0@0", "nonsense", "bias.final_norm"],
)  # fmt: skip
def test_nodes_that_are_not_there(smollm2: Model, node: str) -> None:
    run = smollm2.debug("Hello there")
    with pytest.raises(BadNode):
        run.node(node)


def test_control_characters_are_tokens_like_others(smollm2: Model) -> None:
    run = smollm2.debug("a\x00\x07\x1b[31m\tb\r\n")
    assert abs(run.accounting().difference) < 1e-3


@pytest.mark.parametrize("lost", ["\x04", "\U00040000", "\x1d"])
def test_characters_that_the_vocabulary_cannot_spell_are_not_dropped_silently(smollm2: Model, lost: str) -> None:
    with pytest.raises(BadText, match="cannot spell"):
        smollm2.debug(f"Hello {lost} there", target=" a")


def test_damaged_weights_are_said_to_be_so(smollm2: Model) -> None:
    weight = smollm2.subject.anatomy.layers[3].mlp_out.by_input
    kept = weight[0, 0].clone()
    weight[0, 0] = float("nan")
    try:
        with pytest.raises(NotFinite, match="NaN"):
            smollm2.debug("Hello there", target=" a")
    finally:
        weight[0, 0] = kept


def test_a_stop_ends_the_pass(smollm2: Model) -> None:
    asked = []

    def stop() -> bool:
        asked.append(1)
        return len(asked) > 10

    with pytest.raises(ClewError, match="cancelled"):
        smollm2.debug("Hello there", target=" a", stop=stop)
    assert len(asked) == 11
    assert smollm2.debug("Hello there", target=" a").direction  # nothing is left locked or hooked


@pytest.mark.parametrize(("device", "dtype"), [("toaster", None), ("cuda:99", None), (None, "int8")])
def test_devices_and_dtypes_that_are_not_there(device: str | None, dtype: str | None) -> None:
    with pytest.raises(UsageError):
        clew.load(device=device, dtype=dtype)
