"""Streams and buffers: the rows that hooks see, each token once, the same again from any point."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from clew.corpus import Contexts, corpus_of, read_contexts
from clew.debug import Model
from clew.errors import BadCheckpoint, NothingToLearn
from clew.models.subject import SubjectModel
from clew.nodes import Site
from clew.sae.activations import Buffer, Rows, Stream

LENGTH = 16
SITES = (Site("mlp_act", 1), Site("mlp_out", 1), Site("resid", 0))


@pytest.fixture(scope="module")
def subject(tiny: Callable[[str], Model]) -> SubjectModel:
    return tiny("llama").subject


@pytest.fixture(scope="module")
def contexts(subject: SubjectModel, corpus: str, tmp_path_factory: pytest.TempPathFactory) -> Contexts:
    return texts(subject, corpus, tmp_path_factory.mktemp("contexts"))


def texts(subject: SubjectModel, corpus: str, folder: Path, bos: bool = False, count: int = 150) -> Contexts:
    for _ in read_contexts(
        folder, subject, corpus_of(corpus), tokens=count * LENGTH, length=LENGTH, bos=bos, seed=0, shard=64
    ):
        pass
    found = Contexts.open(folder)
    assert len(found) == count
    return found


def stream(subject: SubjectModel, contexts: Contexts, count: int = 150, first: int = 1, seed: int = 0) -> Stream:
    """Of twenty contexts a forward pass."""
    return Stream(subject, contexts, count, SITES, first, seed, at_once=20 * LENGTH)


def keys(rows: Rows) -> list[bytes]:
    """Each token by the bits of all that its sites hold."""
    return [row.numpy().tobytes() for row in torch.cat([rows[site] for site in SITES], 1)]


@contextmanager
def watched(subject: SubjectModel) -> Iterator[list[list[int]]]:
    """The contexts that the model is given."""
    seen: list[list[int]] = []
    module = subject.hf.get_submodule("model.embed_tokens")
    handle = module.register_forward_pre_hook(lambda _, args: seen.extend(args[0].tolist()))
    yield seen
    handle.remove()


@pytest.mark.parametrize("bos", [False, True])
def test_rows_are_what_hooks_see(subject: SubjectModel, corpus: str, tmp_path: Path, bos: bool) -> None:
    contexts = texts(subject, corpus, tmp_path, bos)
    source = stream(subject, contexts, first=3)
    layers = subject.hf.get_submodule("model.layers")
    seen: dict[Site, list[Tensor]] = {site: [] for site in SITES}

    def given(site: Site) -> Callable[[Any, tuple[Tensor, ...]], None]:
        return lambda module, args: seen[site].append(args[0])

    def gave(module: Any, args: Any, output: Any) -> None:
        seen[SITES[1]].append(output)

    mlp = layers.get_submodule("1.mlp")
    handles = [
        mlp.get_submodule("down_proj").register_forward_pre_hook(given(SITES[0])),
        mlp.register_forward_hook(gave),
        layers.get_submodule("1.input_layernorm").register_forward_pre_hook(given(SITES[2])),
    ]
    with torch.no_grad():
        for start in range(0, 150, 20):
            subject.hf(contexts.batch(start, 20))
    for handle in handles:
        handle.remove()
    for number in range(8):
        rows = source.read()
        for site in SITES:
            assert torch.equal(rows[site], seen[site][number][:, 3:].flatten(0, 1))
    if bos:
        assert all(contexts.tokens(i)[0] == subject.bos_id for i in range(150))
    assert source.at == 150 and source.passes == 1.0


def test_each_pass_over_the_text_has_every_context_once_in_another_order(
    subject: SubjectModel, contexts: Contexts
) -> None:
    source = stream(subject, contexts, count=50)
    orders = []
    for _ in range(3):
        with watched(subject) as seen:
            sizes = [len(source.read()[SITES[0]]) for _ in range(3)]
        assert sizes == [20 * 15, 20 * 15, 10 * 15]
        orders.append(seen)
    assert orders[0] == contexts.batch(0, 50).tolist()
    assert sorted(orders[0]) == sorted(orders[1]) == sorted(orders[2])
    assert orders[0] != orders[1] != orders[2] != orders[0]
    for seed, is_same in ((0, True), (1, False)):
        again = stream(subject, contexts, count=50, seed=seed)
        again.at = 120
        with watched(subject) as seen:
            again.read()
            again.read()
        assert (seen == orders[2][20:]) is is_same


def test_a_sample_has_each_context_once_and_leaves_the_stream_where_it_is(
    subject: SubjectModel, contexts: Contexts
) -> None:
    source = stream(subject, contexts)
    for tokens, expected in ((1, 1), (30, 2), (31, 3), (700, 47), (10**6, 150)):
        with watched(subject) as seen:
            rows = [len(rows[SITES[1]]) for rows in source.sample(tokens, 7, [SITES[1]])]
        assert sum(rows) == min(tokens, 15 * 150)
        assert len({tuple(ids) for ids in seen}) == len(seen) == expected
        assert set(map(tuple, seen)) <= set(map(tuple, contexts.batch(0, 150).tolist()))
    assert source.at == 0
    with watched(subject) as first, watched(subject) as second:
        next(source.sample(300, 7, SITES))
        del second[:]
        next(source.sample(300, 8, SITES))
    assert first[:20] != second


@pytest.mark.parametrize(
    ("size", "total", "count"),
    [
        (1000, 2200, 150),  # a buffer that is filled several times
        (64, 2200, 150),  # as small as a batch
        (300, 2112, 150),  # as large as a forward pass
        (100_000, 2200, 150),  # larger than all there is
        (700, 2200, 40),  # a text that is gone through four times
        (5000, 6400, 10),  # one that fits into the buffer many times over
        (64, 64, 150),  # a single step
    ],
)
@pytest.mark.parametrize("batch", [64, 7])
def test_a_buffer_gives_each_row_once_and_never_starves(
    subject: SubjectModel, contexts: Contexts, size: int, total: int, count: int, batch: int
) -> None:
    total = total // batch * batch
    source = stream(subject, contexts, count=count)
    buffer = Buffer(source, size, total, seed=3)
    drawn: list[bytes] = []
    most = left = 0
    for _ in range(total // batch):
        while not buffer.is_ready:
            buffer.read()
        most = max(most, buffer.held)
        rows = buffer.draw(batch)
        assert {len(values) for values in rows.values()} == {batch}
        drawn += keys(rows)
        left = buffer.held
    assert most < min(size, total) + source.most, "no more is held than was said"
    assert left < source.most, "what is left over is a part of the last forward pass"
    # The same stream, without a buffer.
    fresh = stream(subject, contexts, count=count)
    streamed: list[bytes] = []
    while fresh.at < source.at:
        streamed += keys(fresh.read())
    surplus = Counter(streamed) - Counter(drawn)
    assert not Counter(drawn) - Counter(streamed), "nothing is given twice"
    assert surplus.total() == len(streamed) - len(drawn) == left
    assert drawn != streamed[: len(drawn)]


def test_a_buffer_mixes_what_it_holds_with_what_comes(subject: SubjectModel, contexts: Contexts) -> None:
    source = stream(subject, contexts)
    buffer = Buffer(source, 1000, 2200, seed=0)
    while not buffer.is_ready:
        buffer.read()
    before = set(keys(Rows(buffer.first(10**6))))
    lowest = len(before)
    while buffer.is_ready:
        buffer.draw(50)
        lowest = min(lowest, buffer.held)
    assert 450 <= lowest < 500, "half is left when it is filled up"
    while not buffer.is_ready:
        buffer.read()
    after = keys(buffer.first(200))
    assert 0.3 < sum(key in before for key in after) / 200 < 0.6, "old and new in the next 200, about half and half"


def test_a_buffer_goes_on_from_any_point_to_the_same_bits(subject: SubjectModel, contexts: Contexts) -> None:
    def steps(buffer: Buffer) -> Iterator[list[bytes]]:
        """What each step of reading or drawing gives, to the end."""
        given = buffer.state()[1]["given"]
        while given < 1280:
            if buffer.is_ready:
                yield keys(buffer.draw(64))
                given += 64
            else:
                buffer.read()
                yield []

    def fresh() -> Buffer:
        return Buffer(stream(subject, contexts, count=60), 400, 1280, seed=5)

    undisturbed = list(steps(fresh()))
    assert undisturbed.count([]) >= 5
    for at in range(1, len(undisturbed)):
        first = fresh()
        begun = list(islice(steps(first), at))
        rows, numbers = first.state()
        second = fresh()
        second.load({name: values.clone() for name, values in rows.items()}, json.loads(json.dumps(numbers)))
        assert begun + list(steps(second)) == undisturbed


def test_the_scale_is_one_over_the_root_mean_square_of_all_that_is_held(
    subject: SubjectModel, contexts: Contexts
) -> None:
    buffer = Buffer(stream(subject, contexts), 1000, 2200, seed=0)
    while not buffer.is_ready:
        buffer.read()
    rows = buffer.first(10**6)
    for site in SITES:
        x = rows[site].double()
        expected = 1 / x.square().mean().sqrt().item()
        assert buffer.scale(site) == pytest.approx(expected, rel=1e-12)
        assert (x * buffer.scale(site)).square().sum(1).mean().item() == pytest.approx(x.shape[1], rel=1e-12)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_no_number_is_told_with_its_site(subject: SubjectModel, contexts: Contexts, value: float) -> None:
    weight = subject.hf.get_parameter("model.layers.1.mlp.up_proj.weight")
    before = weight[3, 3].item()
    weight[3, 3] = value
    try:
        with pytest.raises(NothingToLearn, match=r"mlp_act\.1 is NaN or infinite"):
            stream(subject, contexts).read()
    finally:
        weight[3, 3] = before


@pytest.mark.parametrize("bias", [0.0, 3.0])
def test_a_site_that_is_the_same_everywhere_is_told(
    tiny: Callable[[str], Model], corpus: str, tmp_path: Path, bias: float
) -> None:
    subject = tiny("gpt2").subject
    contexts = texts(subject, corpus, tmp_path)
    module = subject.hf.get_submodule("transformer.h.1.mlp.c_proj")
    before = {name: value.clone() for name, value in module.state_dict().items()}
    module.load_state_dict(
        {"weight": torch.zeros_like(before["weight"]), "bias": torch.full_like(before["bias"], bias)}
    )
    buffer = Buffer(stream(subject, contexts), 500, 500, seed=0)
    try:
        while not buffer.is_ready:
            buffer.read()
    finally:
        module.load_state_dict(before)
    buffer.scale(SITES[0])
    with pytest.raises(NothingToLearn, match=r"mlp_out\.1 is the same on every token"):
        buffer.scale(SITES[1])


def test_a_buffer_of_other_sites_is_refused(subject: SubjectModel, contexts: Contexts) -> None:
    buffer = Buffer(stream(subject, contexts), 500, 500, seed=0)
    buffer.read()
    rows, numbers = buffer.state()
    del rows[str(SITES[0])]
    with pytest.raises(BadCheckpoint, match="does not hold this training's activations"):
        Buffer(stream(subject, contexts), 500, 500, seed=0).load(rows, numbers)
