"""Patching from a second prompt, one place at a time: where the difference between two prompts sits.

Activation patching (Vig et al. 2020; Meng et al. 2022): a place of the first prompt is given its value on the second,
and what is explained moves from its value on the first prompt towards that on the second.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..edits import Place
from ..errors import UsageError
from ..models.tape import Stop
from .case import Case, Second
from .records import SweepCell
from .scalar import Scalar
from .verify import measure

SWEPT = ("attn", "resid", "mlp")


def places(case: Case, scalar: Scalar, kinds: Sequence[str], second: Second) -> list[Place]:
    """Every head × position, stream after a layer × position and MLP × position that has a counterpart.

    Late layers first, so that a map fills from the end, where the answer is. Raises UsageError.
    """
    unknown = [kind for kind in kinds if kind not in SWEPT]
    if unknown:
        raise UsageError(f"{unknown[0]!r} cannot be swept.", f"Sweep {', '.join(SWEPT)}.")
    anatomy = case.subject.anatomy
    depth, reach = scalar.depth, int(scalar.positions[-1]) + 1
    at = [p for p in range(reach) if second.alignment[p] is not None]
    found: list[Place] = []
    for layer in reversed(range(depth.layer + depth.mid)):
        whole = layer < depth.layer
        if "resid" in kinds and whole:
            found += [Place("resid", layer, None, (p,)) for p in at]
        if "mlp" in kinds and whole:
            found += [Place("neuron", layer, None, (p,)) for p in at]
        if "attn" in kinds:
            found += [Place("attn", layer, head, (p,)) for head in range(anatomy.n_heads) for p in at]
    if not found:
        raise UsageError("No token of the prompt has a counterpart in the second one.", "Pair some in the alignment.")
    return found


def sweep(
    case: Case, scalar: Scalar, wanted: Sequence[Place], second: Second, first: float, target: float, stop: Stop | None
) -> Iterator[list[SweepCell]]:
    """The cells of `wanted`, batch by batch. `first` and `target` are what is explained on either prompt."""
    done = 0
    for effects in measure(case, scalar, wanted, "resample", second=second, stop=stop):
        batch = zip(wanted[done:], effects, strict=False)
        yield [_cell(place, effect, first, target) for place, effect in batch]
        done += len(effects)


def _cell(place: Place, effect: float, first: float, target: float) -> SweepCell:
    assert place.layer is not None
    kind = "mlp" if place.kind == "neuron" else "attn" if place.kind == "attn" else "resid"
    difference = target - first
    # Two prompts that agree to rounding have no difference to restore.
    restored = None if abs(difference) < 1e-6 * max(1.0, abs(first)) else -effect / difference
    return SweepCell(str(place), kind, place.layer, place.index, place.position, first - effect, restored)
