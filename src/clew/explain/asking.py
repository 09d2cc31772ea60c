"""Explaining from Python in one call."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from ..atlas.atlas import Atlas
from ..atlas.components import Components
from ..atlas.shelf import components as opened
from ..debug.run import Run
from ..models.subject import HasSubject
from ..records import Records
from .llm import Budget, open_llm
from .node_words import NodeWords, node_of
from .pipeline import explaining, scoring
from .recipe import Recipe
from .records import ExplainProgress, Explanation
from .store.answers import Answers
from .store.explanations import Explanations
from .subjects import Subjects


def explain(
    model: HasSubject | Components,
    components: str | Sequence[str],
    *,
    atlas: Atlas | Path | str | None = None,
    explanations: Explanations | None = None,
    redo: bool = False,
    progress: Callable[[ExplainProgress], None] | None = None,
    **recipe: Any,
) -> Records[Explanation]:
    """Explain components by the fields of a Recipe: `explaining`, to its end. Gives those that were explained now."""
    found = Records[Explanation]()
    specs = [components] if isinstance(components, str) else components
    steps = explaining(_components(model, atlas), specs, Recipe(**recipe), explanations=explanations, redo=redo)
    for step in steps:
        if step.latest is not None:
            found.append(step.latest)
        if progress is not None:
            progress(step)
    return found


def score(
    model: HasSubject | Components,
    component: str,
    words: str | int,
    *,
    atlas: Atlas | Path | str | None = None,
    explanations: Explanations | None = None,
    author: str = "you",
    **recipe: Any,
) -> Explanation:
    """Score words for a component, or an explanation by its number: `scoring`, to its end."""
    latest = None
    steps = scoring(
        _components(model, atlas), component, words, Recipe(**recipe), explanations=explanations, author=author
    )
    for step in steps:
        latest = step.latest
    assert latest is not None
    return latest


def explain_node(
    model: HasSubject | Components,
    run: Run,
    node: str,
    *,
    llm: str,
    explanations: Explanations | None = None,
    budget: int | None = None,
    seed: int = 0,
) -> Explanation:
    """What a node of a run does in its prompt, such as "attn.23.3@13", in words that cite what was measured.

    `budget` is in tokens sent and received. Raises BadNode, UnknownLLM (also for lookup, which cannot), LLMFailed,
    BudgetSpent, BadDatabase or NoSpace.
    """
    wanted, kept = node_of(node), explanations or Explanations()
    known = _components(model, None)
    asked = open_llm(llm, answers=Answers(kept.engine), budget=Budget(tokens=budget), subject=known.subject)
    with closing(asked):
        return NodeWords(kept, Subjects(known)).explain(asked, run, wanted, seed=seed)


def _components(model: HasSubject | Components, atlas: Atlas | Path | str | None) -> Components:
    return model if isinstance(model, Components) else opened(model, atlas)
