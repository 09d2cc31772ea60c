"""An atlas, opened: what every component does over a corpus, a component at a time in milliseconds.

A component's rows lie together in one small file a layer, which DuckDB reads a row group of. A file's bytes are checked
against the manifest before the first time they are read.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Float, Float64

from ..corpus.contexts import Contexts
from ..disk import digest
from ..errors import BadAtlas, BadCorpus, BadNode, NoAtlas, WrongAtlas
from ..models.fingerprint import fingerprint
from ..models.subject import SubjectModel
from ..nodes import Node
from ..records import Records
from .blocks import TYPES
from .plan import VERSION, block_of, site_of
from .records import (
    AtlasAutoencoder,
    AtlasInfo,
    AtlasModel,
    Band,
    CoFiring,
    Component,
    Example,
    ExampleKind,
    HeadTypes,
    Histogram,
    Pairs,
    Stats,
    TokenMatch,
)
from .store import CONTEXTS, MANIFEST, VOCABULARY, components_of, examples_of
from .tally import edges

CO_FIRING = 20  # components listed that fire where one does

_SUMMARY = ("mean", "variance", "maximum", "density", "strong")
_EXAMPLE = "kind, band, rank, context, start, position, source, activation, scale, values"


@dataclass(frozen=True)
class Summary:
    """What is usual of the components of one block; NaN where an imported atlas does not say."""

    mean: Float64[np.ndarray, " n"]
    deviation: Float64[np.ndarray, " n"]
    maximum: Float64[np.ndarray, " n"]
    density: Float64[np.ndarray, " n"]
    strong: Float64[np.ndarray, " n"]


class Atlas:
    """A finished atlas in a folder; `open` makes one. Reading is safe from several threads at once."""

    def __init__(self, folder: Path, manifest: dict[str, Any]) -> None:
        self.folder = folder
        self._manifest = manifest
        self._lock = Lock()
        self._checked: set[str] = set()
        self._decode: Callable[[list[int]], str] | None = None
        self._sites: dict[str, int] = manifest["sites"]
        self._summaries: dict[str, Summary] = {}
        self._database = duckdb.connect(config={"threads": 2})
        # For all connections: each question has one of its own.
        self._database.execute("SET GLOBAL parquet_metadata_cache = true")

    @classmethod
    def open(cls, folder: Path | str) -> Atlas:
        """The atlas in a folder. Raises NoAtlas, WrongAtlas for another version, BadAtlas when a file is damaged."""
        folder = Path(folder)
        manifest = manifest_of(folder)
        for name, expected in manifest["files"].items():
            path = folder / name
            if not path.is_file() or path.stat().st_size != expected["bytes"]:
                what = "is missing" if not path.is_file() else "was cut short or changed"
                raise BadAtlas(f"{path} {what}.", "Restore that file, or collect the atlas again with --replace.")
        return cls(folder, manifest)

    def __reduce__(self) -> tuple[Any, ...]:
        """Travels to another process as its place, and is opened there."""
        return Atlas.open, (self.folder.absolute(),)

    def __repr__(self) -> str:
        info = self.info()
        return f"Atlas({info.name}: {info.components:,} components of {info.model.name}, {info.tokens:,} tokens)"

    def info(self) -> AtlasInfo:
        """The atlas at a glance."""
        return _info(self.folder, self._manifest)

    @property
    def sizes(self) -> Mapping[str, int]:
        """How many components each block has, such as neuron.5 or latent.mlp_out.10."""
        return self._sites

    @property
    def autoencoders(self) -> Mapping[str, AtlasAutoencoder]:
        """The autoencoder of every block of latents, by the block's name."""
        return {f"latent.{one.writes}": one for one in self.info().autoencoders}

    @property
    def plan(self) -> dict[str, Any] | None:
        """What decided its content, as `Plan.to_dict` gave it; None for imported data."""
        return self._manifest.get("plan")

    def without(self, sites: Collection[str]) -> Atlas:
        """The same atlas as if it had never had some of its blocks."""
        left = {site: size for site, size in self._sites.items() if site not in sites}
        known = [one for one in self._manifest.get("autoencoders", ()) if f"latent.{one['writes']}" in left]
        return Atlas(self.folder, {**self._manifest, "sites": left, "autoencoders": known})

    def carry(self, folder: Path) -> None:
        """Copy every file but atlas.json into another folder. Raises BadAtlas for one that is not as it was written."""
        for name in self._manifest["files"]:
            copy = folder / name
            copy.parent.mkdir(exist_ok=True)
            shutil.copyfile(self._path(name), copy)

    def check(self, subject: SubjectModel) -> None:
        """Make sure that the atlas is of this model; from then on its tokenizer spells the texts. Raises WrongAtlas."""
        model, anatomy = AtlasModel(**self._manifest["model"]), subject.anatomy
        shape = len(anatomy.layers), anatomy.n_heads, anatomy.n_neurons
        theirs = model.n_layers, model.n_heads, model.n_neurons
        if any(size not in (0, own) for own, size in zip(shape, theirs, strict=True)):  # 0: imported without any
            raise WrongAtlas(
                f"The atlas {self.folder.name} is of {model.name} ({theirs[0]} layers of {theirs[1]} heads and "
                f"{theirs[2]} neurons), and {subject.name} has {shape[0]} of {shape[1]} and {shape[2]}.",
                f"Collect one of {subject.name}, or name another with --atlas.",
            )
        if model.fingerprint is not None and model.fingerprint != fingerprint(subject):
            raise WrongAtlas(
                f"The atlas {self.folder.name} is of {model.name} with other weights than {subject.name} has.",
                f"Collect one of {subject.name}, or name another with --atlas.",
            )
        # Imported texts are in tokens of their own.
        self._decode = None if self._manifest["imported"] else subject.decode

    def component(self, node: Node) -> Component:
        """All that is known of a component; nothing when its block is not in the atlas. Raises BadAtlas, BadNode."""
        site, unknown = site_of(node), Component.unknown(node)
        if site not in self._sites:
            return unknown
        known = self._known(node, "*")
        examples = self._examples(node)
        bands = [
            Band(**band, examples=[example for example in examples if example.band == number])
            for number, band in enumerate(known["bands"] or [])
        ]

        def of(kind: str) -> list[Example]:
            return [example for example in examples if example.kind == kind]

        types = None if known["types"] is None else HeadTypes(**dict(zip(TYPES, known["types"], strict=True)))
        return replace(
            unknown,
            autoencoder=self.autoencoders.get(site),
            stats=_stats(known),
            types=types,
            top=of("top"),
            bottom=of("bottom"),
            bands=bands,
            random=of("random"),
        )

    def histogram(self, node: Node) -> Histogram | None:
        """A component's histogram; None when the atlas has none of it."""
        if site_of(node) not in self._sites:
            return None
        return _histogram(self._known(node, "histogram")["histogram"])

    def best(self, node: Node) -> Example | None:
        """The component's strongest example."""
        if site_of(node) not in self._sites:
            return None
        return next(iter(self._examples(node, "kind = 'top' AND rank = 0")), None)

    def pairs(self, node: Node, kind: ExampleKind, rank: int, band: int | None) -> Pairs:
        """The values of all pairs of one example of a head. Raises BadNode when there is no such example."""
        where = f"kind = '{kind}' AND rank = {rank} AND band IS NOT DISTINCT FROM {'NULL' if band is None else band}"
        found = [] if site_of(node) not in self._sites or node.kind != "attn" else self._strips(node, where)
        if not found:
            raise BadNode(f"{node} has no such example of pairs.", "Name a head and an example that its page lists.")
        values = _rounded(found[0]["values"], found[0]["scale"])
        ends = np.cumsum(np.arange(1, _side(len(values)) + 1))
        return Pairs([part.tolist() for part in np.split(values, ends[:-1])])

    def cofiring(self, node: Node) -> Records[CoFiring]:
        """The components with top examples at the very tokens where this one has its own, most shared first."""
        if site_of(node) not in self._sites:
            return Records()
        where = f"component = {node.index} AND kind = 'top'"
        mine = [
            row["site"] for row in self._rows([examples_of(site_of(node))], f"SELECT site FROM {{0}} WHERE {where}")
        ]
        if not mine:
            return Records()
        listed = ", ".join(map(str, mine))
        found = self._rows(
            [examples_of(site) for site in self._sites],
            "SELECT filename, component, count(*) AS shared FROM {0} "
            f"WHERE kind = 'top' AND site IN ({listed}) GROUP BY ALL ORDER BY shared DESC, filename, component "
            f"LIMIT {CO_FIRING + 1}",
        )
        others = [(_component(row), row["shared"]) for row in found]
        rows = [CoFiring(other, shared, shared / len(mine)) for other, shared in others if other != str(node)]
        return Records(rows[:CO_FIRING])

    def on_token(
        self, ids: Sequence[int], kinds: Sequence[str] | None = None, layers: Sequence[int] | None = None
    ) -> list[TokenMatch]:
        """The components with top examples on one of these tokens."""
        sites = [
            site
            for site in self._sites
            if (kinds is None or block_of(site).kind in kinds) and (layers is None or block_of(site).layer in layers)
        ]
        if not sites or not ids:
            return []
        wanted = ", ".join(str(int(token)) for token in ids)
        found = self._rows(
            [examples_of(site) for site in sites],
            f"SELECT filename, component, count(*) FILTER (token IN ({wanted})) AS examples, count(*) AS total, "
            f"max(activation) FILTER (token IN ({wanted})) AS activation "
            "FROM {0} WHERE kind = 'top' GROUP BY ALL HAVING examples > 0",
        )
        matches = []
        for row in found:
            summary = self._summary_of(Path(row["filename"]).stem)
            usual = (float(shares[row["component"]]) for shares in (summary.density, summary.strong))
            density, strong = (None if np.isnan(share) else share for share in usual)
            share = row["examples"] / row["total"]
            matches.append(TokenMatch(_component(row), row["examples"], share, row["activation"], density, strong))
        return matches

    def ids_of(self, token: int, text: str) -> list[int]:
        """By which ids the atlas knows a token of its model: by the same, or in imported data by its text."""
        if not self._manifest["imported"]:
            return [token]
        return [number for number, known in enumerate(self.vocabulary) if known == text]

    def summary(self, block: Node) -> Summary | None:
        """What is usual of the components of a block, or of that of a component; None when the atlas lacks it."""
        site = site_of(block)
        return self._summary_of(site) if site in self._sites else None

    def head_mean(self, layer: int) -> Float[np.ndarray, "h dh"] | None:
        """The mean z of each head of a layer over the corpus; None when the atlas does not have it."""
        site = f"attn.{layer}"
        if site not in self._sites:
            return None
        query = "SELECT mean_mixed FROM {0} ORDER BY component"
        found = [row["mean_mixed"] for row in self._rows([components_of(site)], query)]
        return None if found[0] is None else np.asarray(found, np.float32)

    @cached_property
    def contexts(self) -> Contexts:
        """The text that was read."""
        try:
            return Contexts.open(self._path(CONTEXTS))
        except BadCorpus as error:  # its bytes are as they were written: by a Clew that wrote them otherwise
            raise BadAtlas(
                f"{self.folder / CONTEXTS} cannot be read by this Clew.", "Collect the atlas again with --replace."
            ) from error

    @cached_property
    def vocabulary(self) -> list[str]:
        """The text of every token."""
        return pq.read_table(self._path(VOCABULARY))["text"].to_pylist()

    def _summary_of(self, site: str) -> Summary:
        if site not in self._summaries:
            table = pq.read_table(self._path(components_of(site)), columns=list(_SUMMARY))
            mean, variance, *shares = (table[name].cast(pa.float64()).to_numpy() for name in _SUMMARY)
            if self._manifest["imported"] and site.startswith("attn"):
                # What is known of an imported head is about its pairs of tokens, and not about its writes.
                mean, variance, *shares = (np.full(len(mean), np.nan) for _ in _SUMMARY)
            self._summaries[site] = Summary(mean, np.sqrt(variance), *shares)
        return self._summaries[site]

    def _known(self, node: Node, columns: str) -> dict[str, Any]:
        """Some columns of a component's statistics. Raises BadNode."""
        site = site_of(node)
        if node.index is None or node.index >= self._sites[site]:
            raise BadNode(f"There is no {node}.", f"{site} has components 0 to {self._sites[site] - 1}.")
        query = f"SELECT {columns} FROM {{0}} WHERE component = {node.index}"
        return self._rows([components_of(site)], query)[0]

    def _strips(self, node: Node, where: str) -> list[dict[str, Any]]:
        query = f"SELECT {_EXAMPLE} FROM {{0}} WHERE component = {node.index} AND {where}"
        return self._rows([examples_of(site_of(node))], query, strips=True)

    def _examples(self, node: Node, where: str = "true") -> list[Example]:
        """A component's examples in the order they are stored in."""
        return [self._example(row, node.kind == "attn") for row in self._strips(node, where)]

    def _example(self, row: dict[str, Any], head: bool) -> Example:
        values = _rounded(row["values"], row["scale"])
        attended = None
        if head:
            side = _side(len(values))
            square = np.full((side, side), -np.inf)
            square[np.tril_indices(side)] = values
            values, attended = square.max(1), square.max(0).tolist()
        start = row["start"]
        ids = self.contexts.tokens(row["context"])[start : start + len(values)].tolist()
        tokens = [self.vocabulary[token] for token in ids]
        return Example(
            kind=row["kind"],
            band=row["band"],
            rank=row["rank"],
            text="".join(tokens) if self._decode is None else self._decode(ids),
            tokens=tokens,
            ids=ids,
            activations=values.tolist(),
            attended=attended,
            activation=row["activation"],
            peak=row["position"] - start,
            source=None if row["source"] is None else row["source"] - start,
            context=row["context"],
            start=start,
            origin=self.contexts.origin(row["context"]),
        )

    def _rows(self, files: list[str], query: str, strips: bool = False) -> list[dict[str, Any]]:
        """The rows of a query over some files, put in place of {0}."""
        paths = [str(self._path(name)).replace("'", "''") for name in files]
        listed = ", ".join(f"'{path}'" for path in paths)
        cursor = self._database.cursor()
        try:
            cursor.execute(query.format(f"read_parquet([{listed}])"))
            columns = [column[0] for column in cursor.description or []]
            # Strips come as arrays this way, and not as a Python object a number.
            if strips:
                found = cursor.fetchnumpy()
                rows = list(zip(*(found[name].tolist() for name in columns), strict=True))
            else:
                rows = cursor.fetchall()
            return [dict(zip(columns, row, strict=True)) for row in rows]
        except duckdb.Error as error:
            raise BadAtlas(
                f"{self.folder / files[0]} cannot be read: {str(error).splitlines()[0]}",
                "Restore that file, or collect the atlas again with --replace.",
            ) from error
        finally:
            cursor.close()

    def _path(self, name: str) -> Path:
        """A file of the atlas, its bytes checked once. Raises BadAtlas."""
        path = self.folder / name
        with self._lock:
            if name not in self._checked:
                expected = self._manifest["files"].get(name)
                if expected is None or not path.is_file() or digest(path) != expected["sha256"]:
                    raise BadAtlas(
                        f"{path} is missing, or is not as it was written.",
                        "Restore that file, or collect the atlas again with --replace.",
                    )
                self._checked.add(name)
        return path


def manifest_of(folder: Path) -> dict[str, Any]:
    """What atlas.json says. Raises NoAtlas, WrongAtlas for another version, BadAtlas when it cannot be read."""
    bad = BadAtlas(f"{folder / MANIFEST} cannot be read.", "Restore it, or collect the atlas again with --replace.")
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        version = manifest["version"]
    except (FileNotFoundError, NotADirectoryError) as error:
        raise NoAtlas(f"There is no atlas in {folder}.", "Make one with: clew collect") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise bad from error
    if version != VERSION:
        raise WrongAtlas(
            f"The atlas in {folder} is of version {version}, and this Clew reads version {VERSION}.",
            "Collect it again, or use the Clew that made it.",
        )
    try:
        _info(folder, manifest)
        manifest["files"] = {
            name: {"bytes": int(file["bytes"]), "sha256": file["sha256"]} for name, file in manifest["files"].items()
        }
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise bad from error
    return manifest


def _info(folder: Path, manifest: dict[str, Any]) -> AtlasInfo:
    return AtlasInfo(
        name=folder.name,
        version=manifest["version"],
        model=AtlasModel(**manifest["model"]),
        corpus=manifest["corpus"],
        seed=manifest["seed"],
        bos=manifest["bos"],
        tokens=manifest["tokens"],
        contexts=manifest["contexts"],
        context_length=manifest["context_length"],
        window=manifest["window"],
        skip=manifest["skip"],
        components=sum(manifest["sites"].values()),
        sites=list(manifest["sites"]),
        autoencoders=[AtlasAutoencoder(**one) for one in manifest.get("autoencoders", ())],
        imported=manifest["imported"],
    )


def _component(row: dict[str, Any]) -> str:
    return f"{Path(row['filename']).stem}.{row['component']}"


def _side(triangle: int) -> int:
    """n of n(n+1)/2."""
    return int((np.sqrt(8 * triangle + 1) - 1) // 2)


def _rounded(values: list[float], scale: float) -> Float64[np.ndarray, " n"]:
    """A strip in units of the activation, to the digits it is kept with."""
    if not scale:
        return np.zeros(len(values))
    digits = 4 - int(np.floor(np.log10(scale)))
    return np.round(np.asarray(values, np.float64) * scale, digits)


def _histogram(counts: list[int] | None) -> Histogram | None:
    """A histogram without its empty ends."""
    if counts is None:
        return None
    there = np.flatnonzero(counts)
    first, last = int(there[0]), int(there[-1])
    return Histogram(edges()[first : last + 2].tolist(), counts[first : last + 1])


def _stats(known: dict[str, Any]) -> Stats | None:
    if None in (known["mean"], known["variance"], known["maximum"]):
        return None
    names = ("tokens", "density", "strong", "mean", "variance", "skewness", "kurtosis", "minimum", "maximum")
    return Stats(**{name: known[name] for name in names}, histogram=_histogram(known["histogram"]))
