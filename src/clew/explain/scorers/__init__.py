"""What measures how far words say what a component does."""

from __future__ import annotations

from ...atlas.components import Components
from ...errors import UsageError
from ..llm.client import LLM
from ..records import ScorerName
from ..roles import Scorer, Simulator
from .detection import DetectionScorer
from .fuzzing import FuzzingScorer
from .judges import Reader, Simulates
from .pairs import PairsScorer
from .simulation import SimulationScorer


def scorer(name: ScorerName, *, llm: LLM | None, simulator: Simulator, components: Components) -> Scorer:
    """A scorer by its name. Without a language model texts are judged by what is simulated of them.

    Raises UsageError for one that needs a language model where there is none.
    """
    if name == "simulation":
        return SimulationScorer(simulator)
    if name in ("detection", "fuzzing"):
        judge = Simulates(simulator) if llm is None else Reader(llm)
        return DetectionScorer(judge) if name == "detection" else FuzzingScorer(judge)
    if name == "ablation":
        from .ablation import AblationScorer

        return AblationScorer(simulator, components)
    if llm is None:
        raise UsageError(
            f"Scoring by {name} asks a language model, and none is named.",
            "Name one, or score by simulation, detection, fuzzing or ablation.",
        )
    if name == "pairs":
        return PairsScorer(llm)
    from .intervention import InterventionScorer

    return InterventionScorer(llm, components)
