"""Models that travel to other processes."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import pytest

import clew
from clew.errors import UnknownModel, WrongModel
from clew.models.reference import opened, reference_of
from clew.models.subject import load_subject
from tests.tiny import tiny_model_folder


def test_a_model_of_a_folder_travels_as_its_folder(tmp_path: Path) -> None:
    subject = load_subject(str(tiny_model_folder(tmp_path / "model")), dtype="bfloat16")
    sent = pickle.dumps(subject)
    assert len(sent) < 2000
    back = pickle.loads(sent)
    assert (back.name, back.path, back.hf.dtype) == (subject.name, subject.path, subject.hf.dtype)
    assert pickle.loads(sent) is back, "a process opens a model once"


def test_a_model_by_name_travels_as_its_name() -> None:
    reference = reference_of(clew.load("smollm2").subject)
    assert (reference.place, reference.revision) == ("smollm2", None)


def test_other_weights_in_the_same_folder_are_refused(tmp_path: Path) -> None:
    folder = tiny_model_folder(tmp_path / "model")
    reference = reference_of(load_subject(str(folder)))
    with pytest.raises(WrongModel, match="other weights"):
        opened(replace(reference, fingerprint="0" * 16))


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    reference = reference_of(load_subject(str(tiny_model_folder(tmp_path / "model"))))
    with pytest.raises(UnknownModel, match="elsewhere"):
        opened(replace(reference, place=str(tmp_path / "elsewhere")))
