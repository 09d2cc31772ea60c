"""The API's description: held to the records it mirrors, and to openapi.json in the repository."""

from __future__ import annotations

import dataclasses
import re
import subprocess
import sys
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from pydantic import BaseModel

from clew import records as shared
from clew.atlas import records as atlas
from clew.cluster import status as cluster
from clew.debug import records
from clew.explain import records as explain
from clew.models import store
from clew.sae import records as sae
from clew.server import attached, openapi
from clew.server.schemas import atlas as atlas_schemas
from clew.server.schemas import base, debugger, status
from clew.server.schemas import cluster as cluster_schemas
from clew.server.schemas import explain as explain_schemas
from clew.server.schemas import sae as sae_schemas

# The page sees resamplings in the log's rows; toy models and what work would take are the terminal's.
NOT_SENT = (sae.Resampled, sae.ToyRun, sae.ToyReport, sae.TrainEstimate, atlas.CollectPlan)
# Two records of one name, in two packages: schemas share one list of names.
NAMES: dict[type, str] = {sae.Histogram: "LatentHistogram"}
RECORDS = [
    record
    for module in (shared, records, atlas, sae, explain, attached, cluster)
    for record in vars(module).values()
    if isinstance(record, type) and issubclass(record, shared.Record) and dataclasses.is_dataclass(record)
    if record.__module__ == module.__name__ and record not in NOT_SENT
]
SCHEMAS = {
    schema.__name__: schema
    for module in (base, status, debugger, atlas_schemas, sae_schemas, explain_schemas, cluster_schemas)
    for schema in vars(module).values()
    if isinstance(schema, type) and issubclass(schema, BaseModel) and schema.__module__ == module.__name__
}


def shape(annotation: object) -> object:
    """A type with records and schemas of one name made equal, and the ways to say `list` too."""
    if isinstance(annotation, type) and (dataclasses.is_dataclass(annotation) or issubclass(annotation, BaseModel)):
        return NAMES.get(annotation, annotation.__name__)
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (list, Sequence):
        return ("list", shape(arguments[0]))
    if origin in (dict, Mapping):
        return ("dict", *map(shape, arguments))
    if origin in (typing.Union, types.UnionType):
        return frozenset(map(shape, arguments))
    return annotation


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.__name__)
def test_every_record_has_its_schema_field_for_field(record: type) -> None:
    schema = SCHEMAS[NAMES.get(record, record.__name__)]
    assert all(field.is_required() for field in schema.model_fields.values())
    wanted = {name: shape(hint) for name, hint in typing.get_type_hints(record).items()}
    found = {name: shape(hint) for name, hint in typing.get_type_hints(schema).items() if name != "model_config"}
    # Where the schema is narrower than the record's plain type, it says which values there are.
    narrower = {"terms", "step", "through"} | ({"kind"} if record is records.SweepCell else set())
    assert list(found) == list(wanted)
    assert {name: found[name] for name in found if name not in narrower} == {
        name: wanted[name] for name in wanted if name not in narrower
    }


def test_installed_models_are_told_without_their_place() -> None:
    fields = {field.name for field in dataclasses.fields(store.InstalledModel)}
    assert set(status.InstalledModel.model_fields) == fields - {"path"}


def test_openapi_json_is_up_to_date() -> None:
    assert openapi.FILE.read_text(encoding="utf-8") == openapi.document(), "run `python -m clew.server.openapi`"


def test_the_check_fails_with_a_sentence_when_it_is_not(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(openapi, "FILE", tmp_path / "openapi.json")
    monkeypatch.setattr(sys, "argv", ["openapi", "--check"])
    with pytest.raises(SystemExit, match="out of date: run"):
        openapi.main()
    monkeypatch.setattr(sys, "argv", ["openapi"])
    openapi.main()
    monkeypatch.setattr(sys, "argv", ["openapi", "--check"])
    openapi.main()


def test_describing_the_api_needs_no_torch() -> None:
    code = "import sys; from clew.server import openapi; openapi.document(); sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_operations_have_plain_names() -> None:
    paths = openapi.routed().openapi()["paths"]
    names = [operation["operationId"] for methods in paths.values() for operation in methods.values()]
    assert len(names) == len(set(names))
    assert all(re.fullmatch("[a-z_]+", name) for name in names)
