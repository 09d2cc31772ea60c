"""Who does what of a recipe: the explainer, the simulator and the scorers, with the language models they ask."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..atlas.components import Components
from ..errors import UsageError
from ..nodes import Node
from ..pool import Desk
from . import lookup
from .llm.client import LLM
from .recipe import Recipe
from .records import Cost, ScorerName
from .roles import Explainer, Scorer, Simulator
from .store.answers import Answers


@dataclass(frozen=True)
class Crew:
    """The parts of a recipe. `validator` scores candidates; `llms` are those that are asked, each once."""

    explainer: Explainer
    simulator: Simulator
    validator: Scorer
    scorers: tuple[Scorer, ...]
    llms: tuple[LLM, ...] = field(default=())

    def __enter__(self) -> Crew:
        return self

    def __exit__(self, *_: object) -> None:
        for llm in self.llms:
            llm.close()

    @property
    def spent(self) -> Cost:
        """All that was asked."""
        return sum((llm.spent for llm in self.llms), Cost())

    def at(self, desk: Desk) -> None:
        """Have language models that were given away with the work ask at a desk."""
        from .llm.distant import Away

        for llm in self.llms:
            if isinstance(llm, Away):
                llm.desk = desk

    def scoring(self, component: Node) -> tuple[Scorer, ...]:
        """The scorers for this kind of component. Raises UsageError, saying why, when there are none of those named."""
        able = tuple(scorer for scorer in self.scorers if scorer.refuses(component) is None)
        if self.scorers and not able:
            why = " ".join(dict.fromkeys(scorer.refuses(component) or "" for scorer in self.scorers))
            raise UsageError(f"{component} cannot be scored by what was named: {why}", "Name another scorer.")
        return able


def crew(recipe: Recipe, components: Components, answers: Answers) -> Crew:
    """The parts of a recipe. Raises UsageError, UnknownLLM or LLMFailed for what they cannot be made of."""
    from .explainers import LLMExplainer
    from .llm import Budget, open_llm
    from .scorers import scorer
    from .simulators import simulator

    budget = Budget(tokens=recipe.budget, money=recipe.money, prices=recipe.prices)
    llms: dict[str, LLM] = {}

    def asked(reference: str) -> LLM | None:
        if reference == lookup.REFERENCE:
            return None
        if reference not in llms:
            llms[reference] = open_llm(
                reference, answers=answers, budget=budget, concurrency=recipe.concurrency, subject=components.subject
            )
        return llms[reference]

    writes, judges = asked(recipe.llm), asked(recipe.judge)
    explainer = lookup.LookupExplainer() if writes is None else LLMExplainer(writes)
    simulates = lookup.LookupSimulator() if judges is None else simulator(judges, recipe.method)

    def made(name: ScorerName) -> Scorer:
        return scorer(name, llm=judges, simulator=simulates, components=components)

    scorers = tuple(made(name) for name in recipe.scorers)
    return Crew(explainer, simulates, made("simulation"), scorers, tuple(llms.values()))
