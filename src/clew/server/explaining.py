"""Explanations as HTTP asks about them: kept ones, and finding and scoring new ones.

Language models are waited for on workers of their own, so that the debugger is answered meanwhile. What runs the
subject model takes turns with it, pass by pass (`SubjectModel.lock`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from shutil import make_archive
from threading import Lock
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary
from zipfile import ZIP_DEFLATED, ZipFile

from .. import settings
from ..disk import on_disk
from ..errors import Forbidden, UnknownExplanation, UsageError
from ..explain.records import ScorerName, Variant
from ..nodes import Node, parse
from .answers import Answers, encode
from .cluster import Cluster
from .events import event
from .jobs import Stop
from .schemas.explain import BestRequest, ExplainRequest, ExportFormat, NodeExplainRequest, ScoreRequest

if TYPE_CHECKING:
    from ..atlas import Components
    from ..debug import Model
    from ..explain.llm.client import LLM
    from ..explain.node_words import NodeWords
    from ..explain.recipe import Recipe
    from ..explain.records import ExplainProgress, Explanation, Subject
    from ..explain.store.explanations import Explanations
    from ..explain.store.search import Sort
    from ..explain.subjects import Subjects
    from ..pool import Pool
    from .attached import Attached
    from .browser import Browser


class Explaining:
    """The explanations of one model.

    `given` are references of language models that every request may name (raises UnknownLLM for what is none); where
    the server answers to this machine alone (`local`), a request may name any other. Many components are explained on
    the cluster `place`, where it names one. The database is opened when it is first asked, and every method raises
    BadDatabase where that fails.
    """

    def __init__(
        self,
        model: Model,
        browser: Browser,
        attached: Attached,
        given: Sequence[str] = (),
        local: bool = True,
        place: Cluster = Cluster(),
    ) -> None:
        self._model, self._browser, self._attached, self._place = model, browser, attached, place
        here = f"local:{model.name}"
        self._llms = list(dict.fromkeys(map(_uniform, [settings.LLM, here, *given])))
        self._local = local
        self._lock = Lock()
        self._opened: Explanations | None = None
        self._subjects: WeakKeyDictionary[Components, Subjects] = WeakKeyDictionary()

    def close(self) -> None:
        """Close the database."""
        with self._lock:
            if self._opened is not None:
                self._opened.close()
                self._opened = None

    def llms(self) -> dict[str, Any]:
        """What can be asked for words. Nothing is asked to find out."""
        return {"rows": [self._listed(reference) for reference in self._llms], "others": self._local}

    def of(self, component: str, autoencoders: Sequence[str] | None) -> dict[str, Any]:
        """All explanations of a component, and what was tried in vain. Raises BadNode."""
        components = self._browser.components(autoencoders)
        node = components.named(component)
        subject = self._of(components).of(node)
        rows, problems = self._kept.of(subject, str(node)), self._kept.problems(subject, str(node))
        return {"component": str(node), "rows": rows.to_dict(), "problems": problems.to_dict()}

    def best(self, asked: BestRequest) -> dict[str, Any]:
        """The best explanation of each of some components or nodes that has one. Raises BadNode."""
        from ..atlas.plan import KINDS

        subjects = self._of(self._browser.components(asked.autoencoders))
        nodes = [node.component for node in map(parse, asked.components) if node.kind in KINDS]
        named = {str(node): subjects.of(node) for node in nodes}
        found: dict[str, Explanation] = {}
        for subject in set(named.values()):
            found |= self._kept.best(subject, [name for name, of in named.items() if of == subject])
        return {"rows": [found[name].to_dict() for name in named if name in found]}

    def plan(self, asked: ExplainRequest, stop: Stop) -> dict[str, Any]:
        """What explaining would take. Raises Forbidden and what the pool and `clew.explain.planned` raise."""
        from ..explain.pipeline import planned

        components = self._with_atlas(asked.autoencoders)
        recipe = self._recipe(asked)
        with self._pool as pool:
            return planned(
                components, asked.components, recipe, explanations=self._kept, redo=asked.redo, pool=pool, stop=stop
            ).to_dict()

    def explain(self, asked: ExplainRequest, stop: Stop) -> Iterator[bytes]:
        """The events of explaining. Raises Forbidden and what the pool and `clew.explain.explaining` raise."""
        from ..explain.pipeline import explaining

        components = self._with_atlas(asked.autoencoders)
        recipe = self._recipe(asked)
        with self._pool as pool:
            yield from _events(
                explaining(
                    components, asked.components, recipe, explanations=self._kept, redo=asked.redo, pool=pool, stop=stop
                )
            )

    def score(self, asked: ScoreRequest, stop: Stop) -> Iterator[bytes]:
        """The events of scoring. Raises Forbidden and what `clew.explain.scoring` raises."""
        from ..explain.pipeline import scoring

        components = self._with_atlas(asked.autoencoders)
        words = asked.explanation if asked.text is None else asked.text
        if words is None or (asked.text is not None and asked.explanation is not None):
            raise UsageError("Give either text or explanation.", "The text is kept as one more explanation.")
        recipe = self._recipe(asked)
        author = {} if asked.author is None else {"author": asked.author}
        return _events(
            scoring(
                components,
                asked.component,
                words,
                recipe,
                explanations=self._kept,
                parent=asked.parent,
                stop=stop,
                **author,
            )
        )

    def plan_node(self, asked: NodeExplainRequest, stop: Stop) -> dict[str, Any]:
        """What explaining a node in its prompt would take: it is measured for that. Raises what `explain_node` does."""
        node, words = self._node(asked)
        run = Answers(self._model, self._attached).run(asked, stop)
        with self._asked(asked) as llm:
            takes = words.estimate(llm, run, node, stop)
            return {"llm": llm.reference, "money": None, **asdict(takes)}

    def explain_node(self, asked: NodeExplainRequest, stop: Stop) -> dict[str, Any]:
        """A node in its prompt, in words, which are kept.

        Raises Forbidden, UnknownLLM, LLMFailed, BudgetSpent, BadNode, and what `Model.debug` raises.
        """
        node, words = self._node(asked)
        # A run of its own: those of the debugger are worked on by its thread.
        run = Answers(self._model, self._attached).run(asked, stop)
        with self._asked(asked) as llm:
            return words.explain(llm, run, node, seed=asked.seed, stop=stop).to_dict()

    def get(self, number: int) -> dict[str, Any]:
        """One explanation, of any model. Raises UnknownExplanation."""
        return self._kept.get(number).to_dict()

    def remove(self, number: int) -> None:
        """Delete an explanation with its scores. Raises UnknownExplanation."""
        self._kept.remove(number)

    def strips(self, number: int) -> dict[str, Any]:
        """The texts of a scoring. Raises UnknownExplanation."""
        return {"rows": self._kept.strips(number).to_dict()}

    def search(self, words: str, embed: str | None, sort: Sort, stop: Stop, **asked: Any) -> dict[str, Any]:
        """One page of the loaded model's explanations that have these words, or with an embedding model, `embed`, of
        all by how near they come to them; `asked` as `search` in the store takes.

        Raises UsageError, and of an embedding model Forbidden, UnknownLLM or LLMFailed.
        """
        from ..explain.llm.embedding import Embedding
        from ..explain.store import similarity
        from ..explain.store.search import search

        model = self._subject
        asked |= {"model": model.model, "fingerprint": model.fingerprint}
        if embed is None:
            found = search(self._kept, words, sort=sort, **asked)
        elif sort == "score" or not words.strip():
            raise UsageError("By meaning, explanations are sorted by how near they come to words.", "Say some words.")
        else:
            with closing(Embedding(self._checked(embed))) as embedding:
                similarity.embed(self._kept, embedding, model=model.model, stop=stop)
                found = similarity.similar(self._kept, words, embedding, stop=stop, **asked)
        return {"total": found.total, "rows": found.to_dict()}

    def sources(self) -> dict[str, Any]:
        """What there is to see an overview of, of every model."""
        from ..explain.store.overview import sources

        return {"rows": sources(self._kept).to_dict()}

    def overview(
        self,
        model: str | None,
        llm: str | None,
        variant: Variant | None,
        scorer: ScorerName | None,
        simulator: str | None,
    ) -> dict[str, Any]:
        """An overview of the source with most components that is as asked. Raises UnknownExplanation for none."""
        from ..explain.store.overview import overview, sources

        of = model or self._subject.model
        for one in sources(self._kept, of):
            asked = ((llm, one.llm), (variant, one.variant), (scorer, one.scorer), (simulator, one.simulator))
            if all(wanted in (None, there) for wanted, there in asked):
                found = overview(
                    self._kept, of, one.llm, variant=one.variant, scorer=one.scorer, simulator=one.simulator
                )
                return found.to_dict()
        raise UnknownExplanation(
            f"No component of {of} is explained and scored in this way.",
            "GET /api/explanations/sources tells the ways.",
        )

    def export(self, format: ExportFormat, components: Sequence[str] | None, folder: Path) -> Path:
        """Write the best explanation of each of the loaded model's components into a file in a folder; which.

        `components` are ids and patterns, None: all. OpenAI's and Neuronpedia's are folders, here packed into one file.
        Raises BadNode or NoSpace.
        """
        from ..explain.published import neuronpedia, openai, whole
        from ..explain.selection import selected

        here = self._browser.components()
        model = self._subject
        digests = dict.fromkeys([None, *(one.fingerprint for one in here.latents.values())])
        subjects = [replace(model, autoencoder=digest) for digest in digests]
        ids = None if components is None else [str(node) for node in selected(components, here)]
        with on_disk(folder):
            if format == "json":
                file = folder / "explanations.json"
                whole.export_explanations(self._kept, file, subjects, ids)
                return file
            file = folder / f"explanations-{format}.zip"
            if format == "openai":
                with ZipFile(file, "w", ZIP_DEFLATED) as packed:
                    for path, line in openai.lines(self._kept, model, ids):
                        packed.writestr(path, line)
                return file
            (folder / format).mkdir()  # even where there is nothing to write
            neuronpedia.export_explanations(self._kept, folder / format, subjects, ids)
            return Path(make_archive(str(file.with_suffix("")), "zip", folder / format))

    def _listed(self, reference: str) -> dict[str, Any]:
        """A language model as the page lists it."""
        if reference == settings.LLM:
            return {"reference": reference, "kind": "lookup", "key": None, "methods": ["lookup"]}
        from ..explain.llm.dialect import Dialect
        from ..explain.llm.keys import key_of
        from ..explain.llm.references import read_reference
        from ..explain.recipe import METHODS
        from ..explain.simulators import methods
        from ..explain.store import answers

        url = read_reference(reference).url
        if url is None:  # in this process all is told
            return {"reference": reference, "kind": "local", "key": None, "methods": list(METHODS)}
        found = answers.Answers(self._kept.engine).dialect(reference)
        known = None if found is None else methods(Dialect.of(found).capabilities)
        return {"reference": reference, "kind": "endpoint", "key": bool(key_of(url)), "methods": known}

    @property
    def _kept(self) -> Explanations:
        """What is in the database. Raises BadDatabase."""
        from ..explain.store.explanations import Explanations

        with self._lock:
            if self._opened is None:
                self._opened = Explanations()
            return self._opened

    @property
    def _pool(self) -> Pool:
        """Who explains."""
        return self._place.pool(f"explain {self._model.name}")

    @property
    def _subject(self) -> Subject:
        """The loaded model, without an autoencoder."""
        return self._of(self._browser.components([])).of(Node("neuron", 0, 0))

    def _with_atlas(self, names: Sequence[str] | None) -> Components:
        """The components with what the atlas knows of them. Raises NoAtlas, before anything is planned or begun."""
        from ..atlas.search import no_atlas

        components = self._browser.components(names)
        if components.atlas is None:
            raise no_atlas("Explaining")
        return components

    def _of(self, components: Components) -> Subjects:
        """Whose these components are."""
        from ..explain.subjects import Subjects

        with self._lock:
            return self._subjects.setdefault(components, Subjects(components))

    def _node(self, asked: NodeExplainRequest) -> tuple[Node, NodeWords]:
        """The node that is asked about, and what puts it in words. Raises BadNode."""
        from ..explain.node_words import NodeWords, node_of

        subjects = self._of(self._browser.components(asked.autoencoders))
        return node_of(asked.node), NodeWords(self._kept, subjects)

    @contextmanager
    def _asked(self, asked: NodeExplainRequest) -> Iterator[LLM]:
        """The language model of a request. Raises Forbidden or UnknownLLM."""
        from ..explain.llm import Budget, open_llm
        from ..explain.store import answers

        llm = open_llm(
            self._checked(asked.llm), answers=answers.Answers(self._kept.engine), budget=Budget(tokens=asked.budget),
            subject=self._model.subject,
        )  # fmt: skip
        try:
            yield llm
        finally:
            llm.close()

    def _recipe(self, asked: ExplainRequest | ScoreRequest) -> Recipe:
        """What is asked for as a recipe. Raises Forbidden."""
        from ..explain.recipe import Recipe

        common: dict[str, Any] = {
            "method": asked.method,
            "scorers": tuple(dict.fromkeys(asked.scorers)),
            "seed": asked.seed,
            "budget": asked.budget,
        }
        if isinstance(asked, ScoreRequest):
            return Recipe(llm=self._checked(asked.simulator), **common)
        return Recipe(
            llm=self._checked(asked.llm),
            simulator=None if asked.simulator is None else self._checked(asked.simulator),
            variants=tuple(dict.fromkeys(asked.variants)),
            candidates=asked.candidates,
            revisions=asked.revisions,
            **common,
        )

    def _checked(self, reference: str) -> str:
        """The reference of a language model. Raises UnknownLLM, or Forbidden for one that a request may not name."""
        named = _uniform(reference)
        if self._local or named in self._llms:
            return named
        raise Forbidden(
            "A server that others can reach asks no language models for them but those it was given.",
            "GET /api/llms names them; clew serve --llm gives more.",
        )


def _uniform(reference: str) -> str:
    """A reference as it is stored and compared. Raises UnknownLLM."""
    from ..explain.llm.references import read_reference

    return reference if reference == settings.LLM else str(read_reference(reference))


def _events(work: Iterator[ExplainProgress]) -> Iterator[bytes]:
    """Progress as events."""
    for progress in work:
        yield event("done" if progress.finished else "progress", encode(progress.to_dict()))
