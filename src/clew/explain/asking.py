"""Explaining from Python in one call."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ..atlas.atlas import Atlas
from ..atlas.components import Components
from ..atlas.shelf import components as opened
from ..models.subject import HasSubject
from ..records import Records
from .pipeline import explaining, scoring
from .recipe import Recipe
from .records import ExplainProgress, Explanation
from .store.explanations import Explanations


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


def _components(model: HasSubject | Components, atlas: Atlas | Path | str | None) -> Components:
    return model if isinstance(model, Components) else opened(model, atlas)
