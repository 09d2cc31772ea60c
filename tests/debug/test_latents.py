"""Latents and errors as nodes, against transformers' own modules with plain hooks: sums, effects, edits, traces."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from clew.debug.answer import Answer, answer
from clew.debug.case import Case, Second, check_edits
from clew.debug.dictionary import dictionaries
from clew.debug.direction import reading
from clew.debug.latent import pairs, write
from clew.debug.ranking import Selection
from clew.debug.scalar import Final, Scalar
from clew.debug.trace import parse_step, traced
from clew.debug.upstream import checked_node
from clew.debug.verify import measure
from clew.edits import Place, parse_edit
from clew.errors import BadEdit, BadNode, UsageError, WrongAutoencoder
from clew.models.anatomy import Anatomy
from clew.models.sites import width
from clew.nodes import Node, Site, parse, parse_site
from clew.sae.autoencoder import Autoencoder, Origin

from .. import reference
from ..families import CONFIGS, PROMPT, ids, subject_of, tiny_hf

LAST = len(PROMPT) - 1
TARGETS, DISTRACTORS = [3, 11], [7, 8, 60]
TOLERANCE = 1e-4
LATENTS = 30
OTHER = [9, 9, 41, 60, 2, 17, 33, 12, 5, 80, 23, 7, 4]
SITES = ["mlp_act.1", "mlp_out.1", "attn_act.1", "attn_out.1", "resid.1", "resid.2", "mlp_out.2", "mlp_in.1"]


@pytest.fixture(params=CONFIGS)
def family(request: pytest.FixtureRequest) -> str:
    return request.param


def autoencoder(anatomy: Anatomy, site: str, **changed: Any) -> Autoencoder:
    """Random, some of its latents firing on most tokens; `mlp_in.L` gives a transcoder to mlp_out.L that skips."""
    reads = parse_site(site)
    writes = Site("mlp_out", reads.layer) if reads.name == "mlp_in" else reads
    d_in, d_out = width(anatomy, reads), width(anatomy, writes)
    draw = torch.Generator().manual_seed(len(site) + reads.layer)

    def random(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=draw)

    made = Autoencoder(
        reads=reads,
        writes=writes,
        activation="relu",
        w_enc=random(d_in, LATENTS) / d_in**0.5,
        b_enc=0.3 * random(LATENTS),
        w_dec=0.4 * random(LATENTS, d_out),
        b_dec=0.5 * random(d_out),
        b_pre=0.2 * random(d_in),
        w_skip=0.1 * random(d_in, d_out) if reads != writes else None,
        origin=Origin(f"sae-{site}"),
    )
    return replace(made, **changed)


def case_of(
    hf: PreTrainedModel, autoencoders: Sequence[Autoencoder], *edits: str, position: int = LAST, ids_: Any = None
) -> Case:
    subject = subject_of(hf)
    case = Case(subject, ids(), position, dictionaries=dictionaries(subject.anatomy, "tiny", autoencoders))
    second = Second.of(ids(OTHER), list(range(len(PROMPT))))
    stack = tuple(parse_edit(edit) for edit in edits)
    check_edits(case, stack, second)
    return replace(case, edits=stack, second=second)


def explained(case: Case) -> Final:
    return Final(case.subject.anatomy, reading(case.subject.anatomy, TARGETS, DISTRACTORS), case.position)


def everything(case: Case, scalar: Scalar | None = None) -> Answer:
    return answer(case, explained(case) if scalar is None else scalar, Selection(threshold=0.0))


def closes(found: Answer) -> None:
    total = sum(found.effects.terms().values())
    assert total == pytest.approx(found.value, abs=TOLERANCE * max(1.0, abs(found.value)))
    # Every term but what no node writes is the sum of the table's rows.
    for kind in ("latent", "error", "embed"):
        rows = sum(row.direct_effect for row in found.nodes if row.kind == kind)
        assert rows == pytest.approx(found.effects.terms()[kind], abs=TOLERANCE * max(1.0, abs(found.value)))


# The reference: the site's value in transformers' own model, changed with plain hooks.

Change = Callable[[Tensor, Tensor], Tensor]  # what is read and what is written, [t, w], to what is written instead


@contextmanager
def hooked(anatomy: Anatomy, coder: Autoencoder, change: Change) -> Iterator[None]:
    kept: dict[str, Tensor] = {}
    layer = anatomy.layers[coder.writes.layer]
    ends = anatomy.final_norm_module if layer.index == 2 else anatomy.layers[layer.index + 1].block
    inputs = {
        "mlp_act": layer.mlp_out_module, "attn_act": layer.attn_out_module, "mlp_in": layer.mlp, "resid": ends,
    }  # fmt: skip
    outputs = {
        "mlp_out": layer.mlp_post_module or layer.mlp_out_module,
        "attn_out": layer.attn_post_module or layer.attn_out_module,
    }
    with ExitStack() as stack:
        if coder.reads != coder.writes:

            def keep(module: Any, args: Any) -> None:
                kept["read"] = args[0][0]

            stack.callback(inputs[coder.reads.name].register_forward_pre_hook(keep).remove)
        if coder.writes.name in inputs:

            def before(module: Any, args: Any) -> Any:
                return (change(kept["read"] if kept else args[0][0], args[0][0])[None], *args[1:])

            stack.callback(inputs[coder.writes.name].register_forward_pre_hook(before).remove)
        else:

            def after(module: Any, args: Any, output: Tensor) -> Tensor:
                return change(kept["read"] if kept else output[0], output[0])[None]

            stack.callback(outputs[coder.writes.name].register_forward_hook(after).remove)
        yield


def reconstructed(coder: Autoencoder, read: Tensor, latents: Tensor) -> Tensor:
    """x̂ from scratch."""
    whole: Tensor = coder.b_dec + latents @ coder.w_dec
    if coder.normalisation == "layer_norm":
        whole = whole * read.std(-1, keepdim=True) + read.mean(-1, keepdim=True)
    return whole if coder.w_skip is None else whole + read @ coder.w_skip


def zeroed(coder: Autoencoder, nodes: Sequence[Node]) -> Change:
    """The site with some latents and errors taken out, each at its position."""

    def change(read: Tensor, value: Tensor) -> Tensor:
        latents = coder.encode(read)
        error = value - reconstructed(coder, read, latents)
        latents, error = latents.clone(), error.clone()
        for node in nodes:
            if node.kind == "error":
                error[node.position] = 0
            else:
                latents[node.position, node.index] = 0
        return reconstructed(coder, read, latents) + error

    return change


def direction(model: PreTrainedModel, position: int = LAST) -> Tensor:
    return reference.direction(model, ids(), position, TARGETS, DISTRACTORS)


def firing(case: Case, coder: Autoencoder, count: int = 6) -> list[Node]:
    """Latents with the largest estimates, one that does not fire, and errors."""
    rows = [row for row in everything(case).nodes if row.kind == "latent" and parse(row.id).site == coder.writes]
    best = sorted(rows, key=lambda row: -abs(row.estimated_effect))[:count]
    site = coder.writes
    return [
        *[parse(row.id) for row in best],
        *[Node("error", site.layer, position=p, part=site.name) for p in (0, LAST // 2, LAST)],
    ]


@pytest.mark.parametrize("site", SITES)
def test_the_accounting_closes_and_estimates_are_derivatives(family: str, site: str) -> None:
    hf = tiny_hf(family)
    coder = autoencoder(subject_of(hf).anatomy, site)
    case = case_of(hf, [coder])
    found = everything(case)
    closes(found)
    assert {"latent", "error"} <= {row.kind for row in found.nodes}
    block = {"mlp": "neuron", "att": "attn"}.get(site[:3])
    assert not [row for row in found.nodes if row.kind == block and row.layer == coder.writes.layer]
    plain = tiny_hf(family, implementation=reference.IMPLEMENTATION)
    anatomy = subject_of(plain).anatomy
    rows = {row.id: row for row in found.nodes}
    for node in firing(case, coder, 3):
        dial = torch.ones((), requires_grad=True)

        def dialled(read: Tensor, value: Tensor, node: Node = node, dial: Tensor = dial) -> Tensor:
            part = value.detach() - zeroed(coder, [node])(read.detach(), value.detach())
            return value + (dial - 1) * part

        with torch.enable_grad(), hooked(anatomy, coder, dialled):
            direction(plain).backward()
        assert dial.grad is not None
        assert rows[str(node)].estimated_effect == pytest.approx(float(dial.grad), rel=1e-3, abs=1e-4), node


def test_direct_effects_are_writes_through_the_final_norm(family: str) -> None:
    hf = tiny_hf(family)
    anatomy = subject_of(hf).anatomy
    coders = [autoencoder(anatomy, site) for site in ("mlp_act.2", "attn_act.2", "mlp_out.1", "attn_out.1")]
    case = case_of(hf, coders)
    found = everything(case)
    closes(found)
    final = explained(case)
    stream = case.clean([]).stream(anatomy, anatomy.end)[LAST][None]
    g = final.directions(stream)[0]
    rows = [row for row in found.nodes if row.kind in ("latent", "error") and row.position == LAST]
    assert len({parse(row.id).site for row in rows}) == 4
    for row in rows[:20]:
        node = parse(row.id)
        vector = write(case, case.dictionaries[node.site], node)
        assert row.direct_effect == pytest.approx(float(vector @ g), rel=1e-4, abs=1e-5)
        assert row.write_norm == pytest.approx(float(vector.norm()), rel=1e-4, abs=1e-5)


@pytest.mark.parametrize(
    "sites",
    [
        ["mlp_out.0", "attn_out.1", "mlp_act.2"],
        ["resid.0", "resid.1", "mlp_out.2"],
        ["mlp_in.0", "attn_act.0", "mlp_in.2"],
    ],
)
def test_any_mix_closes(family: str, sites: list[str]) -> None:
    hf = tiny_hf(family)
    closes(everything(case_of(hf, [autoencoder(subject_of(hf).anatomy, site) for site in sites])))


@pytest.mark.parametrize(
    "changed",
    [
        {"activation": "topk", "k": 4},
        {"activation": "jumprelu", "threshold": torch.linspace(0, 0.6, LATENTS)},
        {
            "activation": "gated",
            "b_gate": torch.linspace(-0.5, 0.5, LATENTS),
            "r_mag": torch.linspace(-0.2, 0.2, LATENTS),
        },
        {"normalisation": "layer_norm"},
        {"normalisation": "constant_norm_rescale"},
    ],
    ids=["topk", "jumprelu", "gated", "layer_norm", "constant_norm"],
)
@pytest.mark.parametrize("site", ["mlp_out.1", "attn_act.1", "resid.1"])
def test_every_activation_and_normalisation(site: str, changed: dict[str, Any]) -> None:
    hf = tiny_hf("gemma2")
    anatomy = subject_of(hf).anatomy
    case = case_of(hf, [autoencoder(anatomy, site, **changed)])
    closes(everything(case))
    latent = next(row for row in everything(case).nodes if row.kind == "latent" and row.position == LAST - 2)
    closes(everything(case, traced(case, parse_step(anatomy, latent.id), explained(case))))


@pytest.mark.parametrize("site", SITES)
def test_ablated_latents_equal_a_change_by_hand_and_compose(family: str, site: str) -> None:
    hf = tiny_hf(family)
    coder = autoencoder(subject_of(hf).anatomy, site, activation="topk", k=5)
    nodes = firing(case_of(hf, [coder]), coder, 4)
    case = case_of(hf, [coder], *[f"zero:{node}" for node in nodes])
    plain = tiny_hf(family, implementation=reference.IMPLEMENTATION)
    with torch.no_grad():
        clean = plain(ids()[None]).logits[0]
        with hooked(subject_of(plain).anatomy, coder, zeroed(coder, nodes)):
            truth = plain(ids()[None]).logits[0]
        assert case.interventions is not None
        with case.interventions.hooks():
            found = hf(ids()[None]).logits[0]
    assert (truth - clean).abs().max() > 0.05
    torch.testing.assert_close(found, truth, atol=TOLERANCE, rtol=TOLERANCE)
    closes(everything(case))


def test_the_forward_pass_is_unchanged_with_the_error_in_place(family: str) -> None:
    hf = tiny_hf(family)
    coder = autoencoder(subject_of(hf).anatomy, "mlp_out.1")
    case = case_of(hf, [coder], "scale:latent.mlp_out.1.*=1")
    assert case.interventions is not None
    with torch.no_grad():
        clean = hf(ids()[None]).logits
        with case.interventions.hooks():
            same = hf(ids()[None]).logits
    torch.testing.assert_close(same, clean, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("site", "position"), [(site, (6, LAST)[i % 2]) for i, site in enumerate(SITES)])
def test_verified_effects_equal_a_rerun(family: str, site: str, position: int) -> None:
    hf = tiny_hf(family)
    coder = autoencoder(subject_of(hf).anatomy, site)
    case = case_of(hf, [coder], position=position)
    nodes = [node for node in firing(case, coder) if node.position is not None and node.position <= position]
    found = [x for batch in measure(case, explained(case), [Place.of(node) for node in nodes]) for x in batch]
    plain = tiny_hf(family, implementation=reference.IMPLEMENTATION)
    anatomy = subject_of(plain).anatomy
    with torch.no_grad():
        clean = float(direction(plain, position))
        for node, effect in zip(nodes, found, strict=True):
            with hooked(anatomy, coder, zeroed(coder, [node])):
                truth = clean - float(direction(plain, position))
            assert effect == pytest.approx(truth, abs=TOLERANCE * max(1.0, abs(clean))), node
    assert max(abs(effect) for effect in found) > 0.01


EDITED = {
    "mlp_out.1": ["zero:latent.mlp_out.1.*@3,5", "scale:error.mlp_out.1=0.5", "zero:attn.0.1@4"],
    "attn_out.1": ["scale:latent.attn_out.1.*=0.5", "scale:neuron.0.*@5=2"],
    "resid.1": ["zero:latent.resid.1.*@4", "steer:neuron.1.3@5=2"],
    "mlp_in.1": ["scale:latent.mlp_out.1.*=0.3"],
    "attn_act.1": ["scale:latent.attn_act.1.*=0.3"],
}


@pytest.mark.parametrize("site", EDITED)
def test_under_edits_sums_close_and_verified_effects_equal_another_edit(family: str, site: str) -> None:
    hf = tiny_hf(family)
    coder = autoencoder(subject_of(hf).anatomy, site)
    case = case_of(hf, [coder], *EDITED[site])
    found = everything(case)
    closes(found)
    upstream = [Node("attn", 0, 2, 3), Node("neuron", 0, 7, 5), Node("embed", position=2)]
    late = [parse(row.id) for row in found.nodes if row.kind in ("latent", "error")][:4]
    # Where latents are edited, a neuron of the layer is changed before them, as it is in a pass.
    inside = [Node("neuron", 1, 3, 5)] if site in ("mlp_out.1", "mlp_in.1", "resid.1") else []
    nodes = upstream + late + inside
    effects = [x for batch in measure(case, explained(case), [Place.of(n) for n in nodes]) for x in batch]
    for node, effect in zip(nodes, effects, strict=True):
        again = case_of(hf, [coder], *EDITED[site], f"zero:{node}")
        truth = found.value - everything(again).value
        assert effect == pytest.approx(truth, abs=TOLERANCE * max(1.0, abs(found.value))), node


@pytest.mark.parametrize("op", ["mean", "patch", "set", "scale", "steer"])
@pytest.mark.parametrize("site", ["mlp_out.1", "mlp_act.1", "resid.0"])
def test_every_edit_of_a_latent(site: str, op: str) -> None:
    hf = tiny_hf("gemma2")
    anatomy = subject_of(hf).anatomy
    coder = autoencoder(anatomy, site)
    node = firing(case_of(hf, [coder]), coder, 1)[0]
    assert node.position is not None and node.index is not None
    value = "=1.5" if op in ("set", "scale", "steer") else ""
    case = case_of(hf, [coder], f"{op}:{node}{value}")
    closes(everything(case))
    held: dict[str, Tensor] = {}
    plain = tiny_hf("gemma2", implementation=reference.IMPLEMENTATION)
    there = subject_of(plain).anatomy

    def keep(name: str) -> Change:
        def change(read: Tensor, written: Tensor) -> Tensor:
            held[name] = coder.encode(read)[:, node.index]
            return written

        return change

    with torch.no_grad():
        for name, prompt in (("here", PROMPT), ("there", OTHER)):
            with hooked(there, coder, keep(name)):
                plain(ids(prompt)[None])
        now, p = held["here"][node.position], node.position
        row = coder.w_dec[node.index]
        if site == "mlp_act.1":
            row = row @ there.layers[1].mlp_out.by_input
        instead = {
            "mean": (held["here"].sum() - now) / LAST,
            "patch": held["there"][p],
            "set": torch.tensor(1.5),
            "scale": 1.5 * now,
            "steer": now + 1.5 / row.norm(),
        }[op]

        def change(read: Tensor, written: Tensor) -> Tensor:
            changed = written.clone()
            changed[p] += (instead - now) * coder.w_dec[node.index]
            return changed

        with hooked(there, coder, change):
            truth = float(direction(plain))
    assert everything(case).value == pytest.approx(truth, abs=TOLERANCE)


@pytest.mark.parametrize("site", SITES)
def test_a_latent_is_traced_to_its_pre_activation(family: str, site: str) -> None:
    hf = tiny_hf(family)
    anatomy = subject_of(hf).anatomy
    below = [autoencoder(anatomy, "mlp_out.0")]
    coder = autoencoder(anatomy, site)
    case = case_of(hf, [coder, *below])
    node = next(node for node in firing(case, coder) if node.kind == "latent" and node.position not in (None, 0))
    assert node.position is not None and node.index is not None
    scalar = traced(case, parse_step(anatomy, str(node)), explained(case))
    seen: dict[str, Tensor] = {}

    def keep(read: Tensor, written: Tensor) -> Tensor:
        seen["z"] = coder.pre_activations(read)[:, node.index]
        return written

    plain = tiny_hf(family, implementation=reference.IMPLEMENTATION)
    with torch.no_grad(), hooked(subject_of(plain).anatomy, coder, keep):
        plain(ids()[None])
    found = everything(case, scalar)
    assert found.value == pytest.approx(float(seen["z"][node.position]), abs=TOLERANCE)
    closes(found)
    assert not [row for row in found.nodes if row.kind in ("latent", "error") and parse(row.id).site == coder.writes]
    if site.startswith("attn"):
        shares = pairs(case, node)
        layer = anatomy.layers[1]
        w, c = coder.reader(node.index)
        constant = float(c)
        if site == "attn_out.1" and layer.attn_out.bias is not None:
            constant += float(layer.attn_out.bias @ w)
        assert len(shares) == 4 * (node.position + 1)
        assert sum(share for _, share in shares) + constant == pytest.approx(found.value, abs=TOLERANCE)
        # A post-norm's scale is held in the shares, and moves when a pair is cut.
        for pair, share in shares[:3] if layer.attn_post_norm is None else ():
            cut = case_of(hf, [coder, *below], f"zero:{pair}")
            moved = traced(cut, parse_step(anatomy, str(node)), explained(cut))
            less = everything(cut, moved).value
            assert found.value - less == pytest.approx(share, abs=TOLERANCE * max(1.0, abs(found.value)))


def test_what_is_not_there_is_refused() -> None:
    hf = tiny_hf("llama")
    anatomy = subject_of(hf).anatomy
    coder = autoencoder(anatomy, "mlp_out.1")
    case = case_of(hf, [coder])
    for name, says in [
        ("latent.mlp_out.1.30@3", "has 30 latents"),
        ("latent.mlp_out.0.3@3", "none is attached"),
        ("error.resid.1@3", "none is attached"),
        ("neuron.1.3@3", "is not a node here"),
        ("latent.mlp_out.1.3", "is a component"),
        ("bias.resid.1", "has no"),
    ]:
        with pytest.raises(BadNode, match=says):
            checked_node(case, explained(case), parse(name))
    for edit, says in [("zero:latent.mlp_out.1.30@3", "there are 30"), ("zero:latent.mlp_out.2.1", "none is attached")]:
        with pytest.raises(BadEdit, match=says):
            case_of(hf, [coder], edit)
    with pytest.raises(UsageError, match="both replace"):
        case_of(hf, [coder, autoencoder(anatomy, "mlp_act.1")])
    with pytest.raises(WrongAutoencoder, match="wide"):
        case_of(hf, [replace(coder, w_dec=torch.zeros(LATENTS, 7))])
    with pytest.raises(WrongAutoencoder, match="no one block"):
        case_of(hf, [replace(coder, reads=Site("resid", 0))])
