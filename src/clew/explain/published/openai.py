"""Explanations of neurons as OpenAI published them (Bills et al. 2023), and ours in the same files.

    …/explanations/{layer}/{neuron}.jsonl, one object a line:

    neuron_id            {layer_index, neuron_index} (once named layer and idx)
    scored_explanations  [{explanation, scored_simulation}]
    scored_simulation    {ev_correlation_score, rsquared_score, absolute_dev_explained_score,
                          scored_sequence_simulations: [{simulation, true_activations}]}, or null
    simulation           {tokens, expected_activations, activation_scale, …} (later named sequence_simulation)

Real activations are in the neuron's own unit; expected ones too, or from 0 to 10 where `activation_scale` says
simulated_normalized_activations. We keep both so that the largest real one is 10. Which texts are the strongest of the
neuron and which random the files do not say: the half with the larger activations are told as top.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ... import settings
from ...atlas.openai import SIZES
from ...atlas.openai_source import Source, source_of
from ...disk import written
from ...errors import BadRecord, Cancelled, Offline, UsageError
from ...models.tape import Stop
from ...nodes import Node, parse
from ..records import Cost, Explanation, Score, Strip, Subject
from ..store.explanations import Explanations
from .files import Imported, Progress, documents, field, number, wrong

EXPLAINER = "gpt-4"  # of the paper; the files do not name it
ENDING = ".jsonl"
_HOME = "explanations"
_BUCKET = {"gpt2": f"gpt2_small_data/{_HOME}", "gpt2-xl": f"data/{_HOME}"}
_NORMALIZED, _OWN = "simulated_normalized_activations", "neuron_activations"
_KEPT_AT_ONCE = 200  # components in one transaction


def import_explanations(
    root: str | Path,
    kept: Explanations,
    *,
    model: str,
    fingerprint: str | None = None,
    llm: str = EXPLAINER,
    simulator: str = EXPLAINER,
    layers: Sequence[int] | None = None,
    limit: int | None = None,
    progress: Progress | None = None,
    stop: Stop | None = None,
) -> Imported:
    """Keep the published explanations of a model's neurons below a folder or an http(s) address.

    `root` is the bucket's, or any folder or address below it. `layers`: only these; `limit`: only so many neurons of
    each, from 0. What is imported again is not kept twice. A damaged file is told and left out; when there is nothing
    else, it is raised. Raises UsageError, BadRecord, Offline, Cancelled, BadDatabase or NoSpace; what was read until
    then is kept.
    """
    if limit is not None and limit < 1:
        raise UsageError("At least one neuron of each layer is imported.", "Leave the limit out for all.")
    found = _Found(kept, Subject(model, fingerprint), llm, simulator)
    with source_of(root) as source:
        prefix, places = _plan(source, model, layers, limit, str(root))
        paths = [f"{prefix}/{layer}/{index}{ENDING}".lstrip("/") for layer, index in places]
        try:
            for done, (place, path, content) in enumerate(zip(places, paths, source.read(paths), strict=True), 1):
                if stop is not None and stop():
                    raise Cancelled("The import was cancelled; what was read is kept.")
                found.add(content, source.where(path), *place)
                if progress is not None:
                    progress(done, len(places))
        except (Cancelled, Offline):
            found.flush()
            raise
    return found.told(str(root))


def export_explanations(
    kept: Explanations, out: str | Path, subject: Subject, components: Sequence[str] | None = None
) -> int:
    """Write the best explanation of each neuron, of all or of some, below a folder; how many there are.

    Heads and latents have no place in this format. Raises NoSpace and BadDatabase.
    """
    count = 0
    for path, line in lines(kept, subject, components):
        with written(Path(out) / path) as partial:
            partial.write_bytes(line)
        count += 1
    return count


def lines(kept: Explanations, subject: Subject, components: Sequence[str] | None = None) -> Iterator[tuple[str, bytes]]:
    """The files of an export, by their paths below its folder, each of one line. Raises BadDatabase."""
    for explanation in kept.chosen(subject, components):
        node = parse(explanation.component)
        if node.kind == "neuron":
            line = json.dumps(_document(kept, node, explanation), ensure_ascii=False)
            # Half a character, which a token may be, is no UTF-8.
            yield f"{_HOME}/{node.layer}/{node.index}{ENDING}", line.encode("utf-8", "replace") + b"\n"


def read_explanations(content: bytes, name: str, layer: int, index: int) -> list[tuple[str, Score | None]]:
    """What a file says of a neuron: words, and their score by a simulator that is not named. Raises BadRecord."""
    found: list[tuple[str, Score | None]] = []
    for document in documents(content, name):
        of = field(document, "neuron_id", dict, name)
        given = [of.get("layer_index", of.get("layer")), of.get("neuron_index", of.get("idx"))]
        if [str(part) for part in given] != [str(layer), str(index)]:  # older files hold the layer as a string
            raise wrong(name, f"is of neuron {given[1]} of layer {given[0]}")
        for scored in field(document, "scored_explanations", list, name):
            if not isinstance(scored, dict):
                raise wrong(name, "has an explanation that is not an object")
            text = field(scored, "explanation", str, name).strip()
            if text:
                found.append((text, _score(scored, name)))
    return found


class _Found:
    """What is read, kept a few components at a time."""

    def __init__(self, kept: Explanations, subject: Subject, llm: str, simulator: str) -> None:
        self._kept, self._subject, self._llm, self._simulator = kept, subject, llm, simulator
        self._waiting: list[Explanation] = []
        self._failure: BadRecord | None = None
        self._damaged: list[str] = []
        self._components = self._explanations = self._scores = self._missing = 0

    def add(self, content: bytes | None, name: str, layer: int, index: int) -> None:
        """A neuron's file, None for one that is not there."""
        if content is None:
            self._missing += 1
            return
        try:
            found = read_explanations(content, name, layer, index)
        except BadRecord as error:
            self._failure = self._failure or error
            self._damaged.append(error.message)
            return
        values = [-2.0 if score is None or score.value is None else score.value for _, score in found]
        best = values.index(max(values)) if values else None
        component = str(Node("neuron", layer, index))
        for at, (text, score) in enumerate(found):
            scores = () if score is None else (replace(score, llm=self._simulator),)
            self._waiting.append(
                Explanation(
                    subject=self._subject, component=component, text=text, llm=self._llm, variant="imported", prompt="",
                    atlas=None, seed=0, chosen=at == best, cost=Cost(), scores=scores,
                )
            )  # fmt: skip
            self._scores += len(scores)
        self._components += bool(found)
        self._explanations += len(found)
        if len(self._waiting) >= _KEPT_AT_ONCE:
            self.flush()

    def flush(self) -> None:
        """Keep what waits."""
        self._kept.add_all(self._waiting)
        self._waiting = []

    def told(self, root: str) -> Imported:
        """All that was found. Raises BadRecord or UsageError where that is nothing."""
        self.flush()
        if not self._explanations:
            raise self._failure or UsageError(f"The files in {root} hold no explanation.", "Look at what is there.")
        return Imported(self._components, self._explanations, self._scores, self._missing, tuple(self._damaged), {})


def _plan(
    source: Source, model: str, layers: Sequence[int] | None, limit: int | None, root: str
) -> tuple[str, list[tuple[int, int]]]:
    """Where the files are, and of which layers and neurons. Raises UsageError."""
    name = model.rpartition("/")[2]
    sizes = SIZES.get(name)
    probed = sorted(set(layers)) if layers else range(sizes[0] if sizes else 1000)
    candidates = [*([_BUCKET[name]] if name in _BUCKET else []), _HOME, *([""] if source.name == _HOME else [])]
    prefix = next((one for one in candidates if source.holds(one, probed, ENDING)), None)
    if prefix is None:
        raise UsageError(
            f"There are no explanations of {model} in {root}.", f"They are looked for at {_HOME}/LAYER/NEURON{ENDING}."
        )
    there = source.sizes(prefix, ENDING)
    if there is None:
        if sizes is None:
            raise UsageError(f"The sizes of {model} are not known.", f"Name one of {', '.join(SIZES)}, or a folder.")
        there = sizes[0], sizes[2]
    n_layers, n_neurons = there
    wanted = range(n_layers) if layers is None else sorted(set(layers))
    return prefix, [(layer, index) for layer in wanted for index in range(min(n_neurons, limit or n_neurons))]


@dataclass(frozen=True)
class _Sequence:
    """A text of a simulation, in the units that the file has."""

    tokens: list[str]
    real: list[float]
    expected: list[float]
    normalized: bool


def _score(scored: dict[str, Any], name: str) -> Score | None:
    if scored.get("scored_simulation") is None:
        return None
    simulation = field(scored, "scored_simulation", dict, name)
    sequences = [_sequence(one, name) for one in field(simulation, "scored_sequence_simulations", list, name)]
    maximum = max((max(one.real, default=0.0) for one in sequences), default=0.0)
    unit = settings.SCALE / maximum if maximum > 0 else 1.0
    by_peak = sorted(range(len(sequences)), key=lambda at: -max(sequences[at].real, default=0.0))
    top = set(by_peak[: len(sequences) // 2])
    strips = tuple(
        Strip(
            kind="top" if at in top else "random",
            context=at,
            start=0,
            tokens=one.tokens,
            real=[value * unit for value in one.real],
            simulated=[value * (1.0 if one.normalized else unit) for value in one.expected],
            failure=None,
        )
        for at, one in enumerate(sequences)
    )
    return Score(
        scorer="simulation",
        split="test",
        llm=EXPLAINER,
        method="all_at_once",
        prompt="",
        value=number(simulation, "ev_correlation_score", name),
        low=None,
        high=None,
        tokens=sum(len(one.tokens) for one in sequences),
        texts={kind: n for kind, n in (("top", len(top)), ("random", len(sequences) - len(top))) if n},
        failures=(),
        measures={
            "r_squared": number(simulation, "rsquared_score", name),
            "absolute_deviation": number(simulation, "absolute_dev_explained_score", name),
        },
        baselines=(),
        cost=Cost(),
        seed=0,
        strips=strips,
    )


def _sequence(scored: Any, name: str) -> _Sequence:
    if not isinstance(scored, dict):
        raise wrong(name, "has a simulation that is not an object")
    key = "simulation" if "simulation" in scored else "sequence_simulation"
    simulation = field(scored, key, dict, name)
    tokens = field(simulation, "tokens", list, name)
    if not all(isinstance(token, str) for token in tokens):
        raise wrong(name, "has tokens that are not texts")
    real = _numbers(scored, "true_activations", len(tokens), name)
    expected = _numbers(simulation, "expected_activations", len(tokens), name)
    return _Sequence(tokens, real, expected, simulation.get("activation_scale") == _NORMALIZED)


def _numbers(document: dict[str, Any], key: str, n: int, name: str) -> list[float]:
    values = field(document, key, list, name)
    if len(values) != n:
        raise wrong(name, f"has {len(values)} {key} for {n} tokens")
    if not all(type(value) in (int, float) and abs(value) < float("inf") for value in values):
        raise wrong(name, f"has {key} that are not numbers")
    return [float(value) for value in values]


def _document(kept: Explanations, node: Node, explanation: Explanation) -> dict[str, Any]:
    judged = [score for score in explanation.scores if score.scorer == "simulation" and score.split == "test"]
    return {
        "neuron_id": {"layer_index": node.layer, "neuron_index": node.index},
        "scored_explanations": [
            {
                "explanation": explanation.text,
                "scored_simulation": _simulation(kept, judged[-1]) if judged else None,
            }
        ],
    }


def _simulation(kept: Explanations, score: Score) -> dict[str, Any]:
    assert score.id is not None
    return {
        "ev_correlation_score": score.value,
        "rsquared_score": score.measures.get("r_squared"),
        "absolute_dev_explained_score": score.measures.get("absolute_deviation"),
        "scored_sequence_simulations": [
            {
                "simulation": {
                    "tokens": strip.tokens,
                    "expected_activations": strip.simulated,
                    "activation_scale": _OWN,  # both are on the scale to 10
                    "distribution_values": [],
                    "distribution_probabilities": [],
                    "uncalibrated_simulation": None,
                },
                "true_activations": strip.real,
            }
            for strip in kept.strips(score.id)
            if strip.simulated is not None
        ],
    }
