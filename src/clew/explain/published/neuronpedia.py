"""Explanations in Neuronpedia's export, read and written.

    v1/{model}/{source}/explanations/batch-{n}.jsonl(.gz), one object a line:

    modelId, layer, index    the component: `layer` names its source, {layer} for neurons and {layer}-{set} for latents
    description              the words
    explanationModelName     who wrote them, or null
    typeName                 by which method, or null
    scores                   [{value, explanationScoreTypeName, explanationScoreModelName}], not in all exports
    id, authorId, embedding, umap_x, umap_y, umap_cluster, umap_log_feature_sparsity   not read

Which tensor the latents of a source are of, a name such as 20-gemmascope-res-16k does not say for sure: whoever imports
says it. Our own sources are {layer}-clew-{site} and {layer}-clew-heads, and our scores clew_{scorer}.
"""

from __future__ import annotations

import gzip
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any, get_args

from ...atlas.openai_source import source_of
from ...disk import written
from ...errors import BadRecord, Cancelled, UsageError
from ...models.tape import Stop
from ...nodes import SITES, Node, parse, parse_site
from ..records import Cost, Explanation, Score, ScorerName, Subject
from ..store.explanations import Explanations
from .files import Imported, Progress, documents, field, number, wrong

_HOME = "explanations"
_BATCH = 1024  # explanations in a file, as theirs
_SCORERS: dict[str, ScorerName] = {
    "eleuther_recall": "detection",
    "eleuther_fuzz": "fuzzing",
    **{f"clew_{name}": name for name in get_args(ScorerName)},
}
_OURS = re.compile(rf"(\d+)-clew-(heads|{'|'.join(SITES)})")
_UNSAID = "unknown"  # who wrote words that nobody signed


def import_explanations(
    root: str | Path,
    kept: Explanations,
    *,
    model: str | None = None,
    fingerprint: str | None = None,
    sites: Mapping[str, str] | None = None,
    autoencoders: Mapping[str, str] | None = None,
    progress: Progress | None = None,
    stop: Stop | None = None,
) -> Imported:
    """Keep the explanations of an export: a file, a folder of any height, or the http(s) address of one source.

    `model`: its name here, by default theirs. `sites` says of sources of latents the site they are of, such as
    {"20-gemmascope-res-16k": "resid.20"}, and `autoencoders` the digest of the autoencoder, without which the latents
    are of "neuronpedia:MODEL/SOURCE" and not of one that is here. What is imported again is not kept twice. A damaged
    file is told and left out; when there is nothing else, it is raised.
    Raises UsageError, BadRecord, Offline, Cancelled, BadDatabase or NoSpace; what was read until then is kept.
    """
    found = _Found(kept, model, fingerprint, sites or {}, autoencoders or {})
    total, files = _files(root)
    for done, (name, content) in enumerate(files, 1):
        if stop is not None and stop():
            raise Cancelled("The import was cancelled; what was read is kept.")
        found.add(content, name)
        if progress is not None:
            progress(done, total or done)
    return found.told(str(root))


def export_explanations(
    kept: Explanations, out: str | Path, subjects: Iterable[Subject], components: Sequence[str] | None = None
) -> int:
    """Write the best explanation of each component of some subjects, of all or of some, below a folder; how many.

    A folder for each source, as in Neuronpedia's. Raises NoSpace and BadDatabase.
    """
    total = 0
    waiting: dict[str, list[str]] = {}
    batches: Counter[str] = Counter()

    def write(source: str) -> None:
        path = Path(out) / source / _HOME / f"batch-{batches[source]}.jsonl.gz"
        with written(path) as partial:
            # Without the time, so that the same explanations give the same bytes.
            partial.write_bytes(gzip.compress("".join(waiting.pop(source)).encode("utf-8", "replace"), mtime=0))
        batches[source] += 1

    for source, line in lines(kept, subjects, components):
        waiting.setdefault(source, []).append(line)
        total += 1
        if len(waiting[source]) == _BATCH:
            write(source)
    for source in list(waiting):
        write(source)
    return total


def lines(
    kept: Explanations, subjects: Iterable[Subject], components: Sequence[str] | None = None
) -> Iterator[tuple[str, str]]:
    """The lines of an export with the names of their sources. Raises BadDatabase."""
    for subject in subjects:
        for explanation in kept.chosen(subject, components):
            source, document = _document(explanation)
            yield source, json.dumps(document, ensure_ascii=False) + "\n"


class _Found:
    """What is read and kept, a file at a time."""

    def __init__(
        self,
        kept: Explanations,
        model: str | None,
        fingerprint: str | None,
        sites: Mapping[str, str],
        autoencoders: Mapping[str, str],
    ) -> None:
        self._kept, self._model, self._fingerprint = kept, model, fingerprint
        self._sites = {source: parse_site(site) for source, site in sites.items()}
        self._autoencoders = autoencoders
        self._components: set[tuple[str, str | None, str]] = set()
        self._failure: BadRecord | None = None
        self._damaged: list[str] = []
        self._unread: Counter[str] = Counter()
        self._explanations = self._scores = 0

    def add(self, content: bytes, name: str) -> None:
        """A file: all of it, or nothing when it is damaged. Raises UsageError for a source whose site is not known."""
        try:
            unread: Counter[str] = Counter()
            found = [
                self._explanation(document, f"{name}, line {line},", unread)
                for line, document in enumerate(documents(content, name), 1)
            ]
        except BadRecord as error:
            self._failure = self._failure or error
            self._damaged.append(error.message)
            return
        found = [one for one in found if one.text]
        self._kept.add_all(found)
        self._unread += unread
        self._explanations += len(found)
        self._scores += sum(len(one.scores) for one in found)
        self._components |= {(one.subject.model, one.subject.autoencoder, one.component) for one in found}

    def told(self, root: str) -> Imported:
        """All that was found. Raises BadRecord or UsageError where that is nothing."""
        if not self._explanations:
            raise self._failure or UsageError(f"There is no explanation in {root}.", "Look at what is there.")
        return Imported(
            len(self._components), self._explanations, self._scores, 0, tuple(self._damaged), dict(self._unread)
        )

    def _explanation(self, document: dict[str, Any], name: str, unread: Counter[str]) -> Explanation:
        model, source, index = (field(document, key, str, name) for key in ("modelId", "layer", "index"))
        component, autoencoder = self._component(model, source, index, name)
        author = document.get("explanationModelName")
        method = document.get("typeName")
        return Explanation(
            subject=Subject(self._model or model, self._fingerprint, autoencoder),
            component=component,
            text=field(document, "description", str, name).strip(),
            llm=author if isinstance(author, str) and author else _UNSAID,
            variant="imported",
            prompt=method if isinstance(method, str) else "",
            atlas=None,
            seed=0,
            chosen=True,
            cost=Cost(),
            scores=tuple(self._read_scores(document, name, unread)),
        )

    def _component(self, model: str, source: str, index: str, name: str) -> tuple[str, str | None]:
        """Its id, and of a latent the autoencoder."""
        if not re.fullmatch(r"\d{1,9}", index):
            raise wrong(name, f"has the index {index!r}, which is no number")
        if re.fullmatch(r"\d{1,9}", source):
            return str(Node("neuron", int(source), int(index))), None
        ours = _OURS.fullmatch(source)
        if ours is not None and ours[2] == "heads":
            return str(Node("attn", int(ours[1]), int(index))), None
        if source in self._sites:
            part, layer = self._sites[source].name, self._sites[source].layer
        elif ours is not None:
            part, layer = ours[2], int(ours[1])
        else:
            raise UsageError(
                f"Which site the latents of {source} are of is not known.",
                f"Say it, for example as {source}=resid.{source.partition('-')[0]}.",
            )
        autoencoder = self._autoencoders.get(source, f"neuronpedia:{model}/{source}")
        return str(Node("latent", layer, int(index), part=part)), autoencoder

    def _read_scores(self, document: dict[str, Any], name: str, unread: Counter[str]) -> Iterator[Score]:
        for given in field(document, "scores", list, name) if document.get("scores") is not None else ():
            if not isinstance(given, dict):
                raise wrong(name, "has a score that is not an object")
            kind = field(given, "explanationScoreTypeName", str, name)
            judge = given.get("explanationScoreModelName")
            scorer = _SCORERS.get(kind)
            if scorer is None:
                unread[f"scores {kind}"] += 1
                continue
            yield Score(
                scorer=scorer, split="test", llm=judge if isinstance(judge, str) and judge else _UNSAID, method=None,
                prompt=kind, value=number(given, "value", name), low=None, high=None, tokens=0, texts={}, failures=(),
                measures={}, baselines=(), cost=Cost(), seed=0,
            )  # fmt: skip


def _files(root: str | Path) -> tuple[int | None, Iterator[tuple[str, bytes]]]:
    """How many files there are, None where they cannot be listed; and their names and contents. Raises UsageError."""
    if isinstance(root, str) and root.startswith(("http://", "https://")):
        return None, _fetched(root)
    path = Path(root)
    if path.is_file():
        paths = [path]
    elif path.is_dir():
        every = sorted(one for ending in ("*.jsonl", "*.jsonl.gz") for one in path.rglob(ending))
        # An export has files of features and activations beside; some sources have folders such as explanations-gpt-4o.
        named = [one for one in every if one.parent.name.startswith(_HOME)]
        paths = named or [one for one in every if one.parent == path]
    else:
        raise UsageError(f"There is no file or folder {root}.", "Name one, or an http(s) address.")
    if not paths:
        raise UsageError(
            f"There are no explanations in {root}.", f"They are looked for at {_HOME}/batch-N.jsonl or .jsonl.gz."
        )
    return len(paths), ((str(one), _read(one)) for one in paths)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise BadRecord(f"{path} cannot be read: {reason}.", "Look at that file.") from error


def _fetched(root: str) -> Iterator[tuple[str, bytes]]:
    """The batches at an address until there is no more."""
    below = "" if root.rstrip("/").rpartition("/")[2].startswith(_HOME) else f"{_HOME}/"
    with source_of(root) as source:
        paths = (f"{below}batch-{n}.jsonl.gz" for n in count())
        n = 0
        for n, content in enumerate(source.read(paths)):
            if content is None:
                break
            yield source.where(f"{below}batch-{n}.jsonl.gz"), content
    if n == 0:
        raise UsageError(f"There are no explanations at {root}.", f"They are looked for at {_HOME}/batch-0.jsonl.gz.")


def _document(explanation: Explanation) -> tuple[str, dict[str, Any]]:
    """An explanation as Neuronpedia has it, and the name of its source."""
    node = parse(explanation.component)
    match node.kind:
        case "neuron":
            source = str(node.layer)
        case "attn":
            source = f"{node.layer}-clew-heads"
        case _:
            source = f"{node.layer}-clew-{node.part}"
    return source, {
        "id": f"clew-{explanation.id}",
        "modelId": explanation.subject.model,
        "layer": source,
        "index": str(node.index),
        "authorId": "",
        "description": explanation.text,
        "embedding": None,
        "typeName": explanation.prompt or explanation.variant,
        "explanationModelName": explanation.llm,
        "umap_x": None,
        "umap_y": None,
        "umap_cluster": None,
        "umap_log_feature_sparsity": None,
        "scores": [_score(score) for score in explanation.scores if score.split == "test" and score.value is not None],
    }


def _score(score: Score) -> dict[str, Any]:
    """With what it rests on: a score without its failures and baselines says little."""
    details = score.to_dict()
    rests = ("low", "high", "tokens", "texts", "failures", "measures", "baselines", "method", "prompt", "seed")
    return {
        "value": score.value,
        # What was imported goes out as it came in.
        "explanationScoreTypeName": score.prompt if score.prompt in _SCORERS else f"clew_{score.scorer}",
        "explanationScoreModelName": score.llm,
        "jsonDetails": json.dumps({name: details[name] for name in rests}),
        "createdAt": score.created,
    }
