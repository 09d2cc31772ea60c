"""What weights and prompts say of latents, against every pair multiplied out and against plain hooks."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from clew.atlas import blocks, relations
from clew.atlas.latents import Latents
from clew.atlas.observation import Autoencoders
from clew.atlas.reading import firings, on_prompt
from clew.atlas.relations import push, pushed_tokens, weights
from clew.models.anatomy import Anatomy
from clew.models.subject import SubjectModel
from clew.nodes import Node, parse
from clew.sae.autoencoder import Autoencoder

from ..families import CONFIGS, PROMPT, VOCAB, ids, subject_of, tiny_hf
from .dictionaries import literal, random_autoencoder, read_by_hooks
from .test_relations import Key, components, linear, listed, normed, pushed_scores, reads, space, strength

N = 7


@pytest.fixture(params=["llama", "gpt2", "gpt_neox", "gemma2", "olmo2", "phi3"])
def family(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(autouse=True)
def texts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Random models have no tokenizer: a token's text is its number. All scores and relations are listed."""
    monkeypatch.setattr(SubjectModel, "text", lambda self, token: str(token))
    monkeypatch.setattr("clew.models.vocabulary.PUSHED", VOCAB)
    monkeypatch.setattr(relations, "RELATED", 10_000)


def dictionaries(anatomy: Anatomy) -> dict[str, Autoencoder]:
    """One at every kind of site, by the name of its block."""
    made = [
        random_autoencoder(anatomy, "mlp_out.1", n=N, seed=1),
        random_autoencoder(anatomy, "attn_out.1", n=N, seed=2, activation="gated"),
        random_autoencoder(anatomy, "resid.1", n=N, seed=3, normalisation="layer_norm"),
        random_autoencoder(anatomy, "mlp_act.1", n=N, seed=4, normalisation="layer_norm"),
        random_autoencoder(anatomy, "attn_act.1", n=N, seed=5, activation="jumprelu"),
        random_autoencoder(anatomy, "mlp_in.2", "mlp_out.2", n=N, seed=6, activation="topk"),
        random_autoencoder(anatomy, "resid.0", n=N, seed=7),
        random_autoencoder(anatomy, "resid.0", "mlp_out.0", n=N, seed=8),
        random_autoencoder(anatomy, "resid.2", n=N, seed=9, normalisation="constant_norm_rescale"),
    ]
    return {f"latent.{one.writes}": one for one in made}


def direction(anatomy: Anatomy, node: Node, one: Autoencoder) -> Tensor:
    """A latent's write, as it arrives in the stream."""
    assert node.index is not None and node.layer is not None
    layer, row = anatomy.layers[node.layer], one.w_dec[node.index]
    if node.part not in ("mlp_act", "attn_act"):
        return row
    module, post = (
        (layer.mlp_out_module, layer.mlp_post_norm)
        if node.part == "mlp_act"
        else (layer.attn_out_module, layer.attn_post_norm)
    )
    return row @ linear(module) * (1 if post is None else post.gain)


def encoder(one: Autoencoder, index: int) -> Tensor:
    """What its input is the product of with the value at its site, a normalisation's scale at 1."""
    row = one.w_enc[:, index] * (1 if one.r_mag is None else one.r_mag[index].exp())
    if one.normalisation == "layer_norm":
        row = row @ (torch.eye(one.d_in) - 1 / one.d_in)
    return row


def written(anatomy: Anatomy, node: Node) -> float:
    """When a component writes: heads of a layer before its neurons, unless both read the same stream."""
    assert node.layer is not None
    early = node.kind == "attn" or (node.part or "").startswith("attn")
    last = node.part == "resid"
    return 4 * node.layer + (1 if early and not anatomy.layers[node.layer].parallel else 3.3 if last else 3)


def precedes(anatomy: Anatomy, writer: Node, reader: Node, made: dict[str, Autoencoder]) -> bool:
    assert reader.layer is not None and writer.layer is not None
    mlp = 4 * reader.layer + (0 if anatomy.layers[reader.layer].parallel else 2)
    if reader.kind != "latent":
        return written(anatomy, writer) < (4 * reader.layer if reader.kind == "attn" else mlp)
    if replace(reader, index=None) == replace(writer, index=None):
        return False
    site = made[f"latent.{reader.site}"].reads
    if site.name == "resid":
        return written(anatomy, writer) < 4 * site.layer + 3.5
    if site.name == "mlp_in":
        return written(anatomy, writer) < mlp
    sources = {"mlp_out": ("neuron", "mlp_act"), "attn_out": ("attn", "attn_act")}
    sources |= {"mlp_act": ("neuron",), "attn_act": ("attn",)}
    return writer.layer == site.layer and (writer.part or writer.kind) in sources[site.name]


def reading(anatomy: Anatomy, writer: Node, reader: Node, basis: Tensor, one: Autoencoder) -> float:
    """How strongly a latent reads what a component writes, or what it does."""
    assert reader.index is not None and writer.index is not None
    row, site = encoder(one, reader.index), one.reads
    if site.name == "mlp_act":
        return float(row[writer.index])
    if site.name == "attn_act":
        return float(row.view(4, -1)[writer.index].norm())
    if site.name == "mlp_in":
        row = row @ normed(anatomy.layers[site.layer], "mlp")
    return strength(row[None], basis)


@pytest.mark.parametrize(
    "name",
    [
        "latent.mlp_out.1.3", "latent.attn_out.1.0", "latent.resid.1.6", "latent.mlp_act.1.2", "latent.attn_act.1.5",
        "latent.mlp_out.2.1", "latent.mlp_out.0.4", "neuron.1.7", "attn.1.2",
    ],
)  # fmt: skip
def test_relations_are_those_of_every_pair_multiplied_out(family: str, name: str) -> None:
    subject, own = subject_of(tiny_hf(family)), parse(name)
    anatomy = subject.anatomy
    made = dictionaries(anatomy)

    def block(node: Node) -> str:
        return f"latent.{node.site}"

    def spanned(node: Node) -> Tensor:
        if node.kind != "latent":
            return space(anatomy, node)
        write = direction(anatomy, node, made[block(node)])
        return (write / write.norm())[None]

    everyone = components(anatomy)
    everyone += [Node("latent", one.writes.layer, j, part=one.writes.name) for one in made.values() for j in range(N)]
    basis = spanned(own)
    fed_by: dict[Key, float] = {}
    feeds: dict[Key, float] = {}
    alike: dict[Key, float] = {}

    def tie(writer: Node, reader: Node, theirs: Tensor, found: dict[Key, float], other: Node) -> None:
        if not precedes(anatomy, writer, reader, made):
            return
        if reader.kind == "latent":
            found[str(other), "in"] = reading(anatomy, writer, reader, theirs, made[block(reader)])
        else:
            found.update({(str(other), how): strength(rows, theirs) for how, rows in reads(anatomy, reader).items()})

    for other in everyone:
        if other == own:
            continue
        theirs = spanned(other)
        tie(other, own, theirs, fed_by, other)
        tie(own, other, basis, feeds, other)
        cosines = basis @ theirs.T
        one = cosines.numel() == 1
        alike[str(other), None] = float(cosines if one else torch.linalg.svdvals(cosines).square().mean().sqrt())
    found = weights(subject, own, latents=[Latents(anatomy, one) for one in made.values()])
    for got, expected in ((found.fed_by, fed_by), (found.feeds, feeds), (found.alike, alike)):
        sizes = listed(list(got))
        assert sizes.keys() == expected.keys()
        assert sizes == pytest.approx(expected, abs=2e-5, rel=1e-4)
        assert [abs(x) for x in sizes.values()] == sorted((abs(x) for x in sizes.values()), reverse=True)


@pytest.mark.parametrize("site", ["mlp_out.1", "attn_out.1", "resid.1", "mlp_act.1", "attn_act.1"])
def test_a_latent_pushes_what_its_write_of_length_1_adds_to_the_logits(family: str, site: str) -> None:
    subject = subject_of(tiny_hf(family))
    anatomy = subject.anatomy
    made = dictionaries(anatomy)
    latents = [Latents(anatomy, one) for one in made.values()]
    for index in (0, N - 1):
        node = parse(f"latent.{site}.{index}")
        write = direction(anatomy, node, made[f"latent.{site}"])
        scores = pushed_scores(anatomy, write / write.norm())
        pushed = pushed_tokens(subject, node, latents=latents)
        assert pushed is not None
        for end in (pushed.up, pushed.down):
            assert [token.score for token in end] == pytest.approx([float(scores[t.id]) for t in end], abs=1e-5)
        assert weights(subject, node, latents=latents).up == pushed.up
        block = replace(node, index=None)
        assert float(push(anatomy, 7, block, latents)[index]) == pytest.approx(float(scores[7]), abs=1e-5)


@pytest.mark.parametrize("name", ["latent.resid.1", "latent.resid.2", "latent.mlp_out.2", "latent.mlp_out.0"])
def test_tokens_excite_a_latent_that_reads_the_stream(family: str, name: str) -> None:
    subject = subject_of(tiny_hf(family))
    anatomy = subject.anatomy
    made = dictionaries(anatomy)
    one = made[name]
    stream = anatomy.embed(torch.arange(VOCAB))
    norm = anatomy.layers[one.reads.layer].mlp_norm_module
    if one.reads.name == "mlp_in" and norm is not None:
        stream = norm(stream)
    # With the activation function away, what is left of a published encoder is its input.
    bare = replace(one, activation="relu", b_enc=one.b_enc + 100)
    expected = literal(bare, stream) - 100
    found = weights(subject, parse(f"{name}.3"), latents=[Latents(anatomy, other) for other in made.values()])
    assert found.note is None and found.excited_by is not None
    assert [token.score for token in found.excited_by] == pytest.approx(
        expected[:, 3].sort(descending=True).values.tolist(), abs=1e-4
    )


def test_what_reads_a_part_of_a_layer_is_excited_by_no_token() -> None:
    subject = subject_of(tiny_hf("llama"))
    latents = [Latents(subject.anatomy, one) for one in dictionaries(subject.anatomy).values()]
    for site in ("mlp_out.1", "attn_out.1", "mlp_act.1", "attn_act.1"):
        found = weights(subject, parse(f"latent.{site}.0"), latents=latents)
        assert found.excited_by is None
        assert found.note == f"It reads {site}, and no token's embedding gets there by itself."


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("held", [2**22, 2 * N])
def test_latents_on_a_prompt_are_what_their_definition_says(
    name: str, held: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks, "HELD", held)
    subject = subject_of(tiny_hf(name))
    made = dictionaries(subject.anatomy)
    attached: Autoencoders = {Node("latent", one.writes.layer, part=one.writes.name): one for one in made.values()}
    plain = tiny_hf(name, implementation="eager")
    with read_by_hooks(subject_of(plain).anatomy, [one.reads for one in made.values()]) as seen, torch.no_grad():
        subject_of(plain).anatomy.base(input_ids=ids()[None], use_cache=False)
    anywhere = firings(subject, ids(), list(attached), skip=1, autoencoders=attached)
    here = firings(subject, ids(), list(attached), position=4, autoencoders=attached)
    for (block, one), peaks, at in zip(attached.items(), anywhere, here, strict=True):
        expected = literal(one, seen[one.reads][0][0])
        torch.testing.assert_close(torch.from_numpy(at.activation).float(), expected[4], atol=5e-5, rtol=1e-4)
        best = expected[1:].max(0).values
        torch.testing.assert_close(torch.from_numpy(peaks.activation).float(), best, atol=5e-5, rtol=1e-4)
        fired = best > 1e-2
        where = torch.from_numpy(peaks.position)[fired]
        assert torch.equal(where, expected[1:].argmax(0)[fired] + 1)
        assert set(at.position.tolist()) == {4}
        for index in (0, N - 1):
            found = on_prompt(subject, ids(), replace(block, index=index), autoencoders=attached)
            torch.testing.assert_close(torch.tensor(found.activations), expected[:, index], atol=5e-5, rtol=1e-4)
            assert len(found.tokens) == len(PROMPT) and found.pairs is None and found.z is None


def test_what_comes_after_the_last_site_is_not_run() -> None:
    subject = subject_of(tiny_hf("llama"))
    weight = subject.anatomy.layers[2].up.module.weight
    assert isinstance(weight, Tensor)
    weight.fill_(torch.nan)
    one = random_autoencoder(subject.anatomy, "resid.1")
    block = Node("latent", 1, part="resid")
    assert len(firings(subject, ids(), [block], autoencoders={block: one})) == 1
