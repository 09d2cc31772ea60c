"""A collection against a computation that keeps everything, and against itself cut up in other ways."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from clew.atlas import Atlas, collect
from clew.atlas.atlas import Atlas as Reader
from clew.atlas.blocks import TYPES
from clew.atlas.collect import collecting
from clew.atlas.plan import lots
from clew.atlas.records import Component, Example
from clew.debug import Model
from clew.errors import AtlasExists, Cancelled, NotFinite, UnfinishedAtlas, UsageError
from clew.models.anatomy import Layer
from clew.models.attention import watching
from clew.nodes import Node

from .conftest import content

LENGTH, WINDOW, SKIP = 24, 16, 1
TOP, BOTTOM, BAND, RANDOM = 6, 3, 2, 4
BATCH = 4
SETTINGS: dict[str, Any] = {
    "tokens": 960, "context": LENGTH, "window": WINDOW, "skip": SKIP, "top": TOP, "bottom": BOTTOM, "band": BAND,
    "random": RANDOM, "batch": BATCH, "shard_tokens": 8 * LENGTH, "seed": 3,
}  # fmt: skip
CONTEXTS = 40


@dataclass
class Everything:
    """All that a model did on all contexts, kept: by layer, contexts first."""

    ids: torch.Tensor
    act: dict[int, torch.Tensor] = field(default_factory=dict)
    pattern: dict[int, torch.Tensor] = field(default_factory=dict)
    pairs: dict[int, torch.Tensor] = field(default_factory=dict)
    writes: dict[int, torch.Tensor] = field(default_factory=dict)
    mixed: dict[int, torch.Tensor] = field(default_factory=dict)


def everything(model: Model, atlas: Atlas) -> Everything:
    """Runs the atlas's contexts in the same batches, with plain hooks; vectors that heads write are made in full."""
    anatomy = model.subject.anatomy
    seen = Everything(atlas.contexts.batch(0, CONTEXTS))
    held: dict[int, Any] = {}
    kept: dict[str, dict[int, list[torch.Tensor]]] = {
        name: {layer.index: [] for layer in anatomy.layers} for name in ("act", "pattern", "pairs", "writes", "mixed")
    }

    class Watcher:
        def attention(
            self,
            layer: int,
            query: torch.Tensor,
            key: torch.Tensor,
            value: torch.Tensor,
            pattern: torch.Tensor,
            mixed: torch.Tensor,
            scaling: float,
        ) -> None:
            held[layer] = value.clone(), pattern.clone(), mixed.clone()

    def on_attention_out(layer: Layer) -> Any:
        def hook(module: Any, args: Any, output: torch.Tensor) -> None:
            value, pattern, mixed = (x.double() for x in held[layer.index])
            out = layer.head_out().double()
            if layer.attn_post_norm is not None:
                out = out * layer.attn_post_norm.gain.double()
            group = layer.n_heads // value.shape[1]
            vectors = torch.einsum("bhsd,hdm->bhsm", value.repeat_interleave(group, 1), out)
            sent = torch.einsum("bhps,bhsm->bhpsm", pattern, vectors)
            if layer.attn_post_norm is not None:
                sent = sent * layer.attn_post_norm.scale(output).double()[:, None, :, None]
            kept["pattern"][layer.index].append(pattern)
            kept["pairs"][layer.index].append(sent.norm(dim=-1))
            kept["writes"][layer.index].append(sent.sum(3).norm(dim=-1).transpose(1, 2))
            kept["mixed"][layer.index].append(mixed)

        return hook

    def on_neurons(index: int) -> Any:
        return lambda module, args: kept["act"][index].append(args[0].clone())

    handles = []
    for layer in anatomy.layers:
        handles.append(layer.mlp_out_module.register_forward_pre_hook(on_neurons(layer.index)))
        handles.append(layer.attn_out_module.register_forward_hook(on_attention_out(layer)))
    try:
        with torch.inference_mode(), watching(Watcher()):
            for first in range(0, CONTEXTS, BATCH):
                anatomy.base(input_ids=seen.ids[first : first + BATCH], use_cache=False)
    finally:
        for handle in handles:
            handle.remove()
    for name, by_layer in kept.items():
        setattr(seen, name, {layer: torch.cat(parts) for layer, parts in by_layer.items()})
    return seen


@pytest.fixture(scope="module")
def collected(
    tiny: Callable[[str], Model], corpus: str, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], tuple[Model, Atlas, Everything]]:
    """An atlas of a family's tiny model, and everything it was made from; made once."""
    made: dict[str, tuple[Model, Atlas, Everything]] = {}

    def make(family: str) -> tuple[Model, Atlas, Everything]:
        if family not in made:
            model = tiny(family)
            atlas = collect(model, corpus, out=tmp_path_factory.mktemp("atlas") / family, **SETTINGS)
            made[family] = model, atlas, everything(model, atlas)
        return made[family]

    return make


FAMILIES = ["llama", "gpt2", "gpt_neox", "gemma2", "olmo2", "phi3"]


def check_stats(component: Component, values: np.ndarray) -> None:
    """Every statistic against all activations, [contexts, tokens]. Moments to 1e-9 of their scale, counts exactly."""
    stats = component.stats
    assert stats is not None and stats.histogram is not None
    x = values.astype(np.float64).ravel()
    assert stats.tokens == len(x) == CONTEXTS * (LENGTH - SKIP)
    assert stats.minimum == x.min() and stats.maximum == x.max()
    mean, deviation = x.mean(), x.std()
    assert stats.mean == pytest.approx(mean, rel=1e-9, abs=1e-9 * deviation)
    assert stats.variance == pytest.approx(deviation**2, rel=1e-9)
    assert stats.skewness == pytest.approx((((x - mean) / deviation) ** 3).mean(), rel=1e-6, abs=1e-6)
    assert stats.kurtosis == pytest.approx((((x - mean) / deviation) ** 4).mean(), rel=1e-6)
    assert stats.density == (x >= 2.0**-14).mean()
    half_octaves = np.clip(np.floor(2 * np.log2(np.abs(x) + 1e-300)), -28, 35)
    bins = np.where(np.abs(x) < 2.0**-14, 0, np.sign(x) * (half_octaves + 29)).astype(int)
    largest = np.abs(bins).max()
    assert stats.strong == (np.abs(bins) >= max(largest - 6, 1)).mean()
    counts = np.bincount(bins + 64, minlength=129)
    there = np.flatnonzero(counts)
    assert stats.histogram.counts == counts[there[0] : there[-1] + 1].tolist()
    edges = [-(2.0 ** (-14 + i / 2)) for i in range(64, -1, -1)] + [2.0 ** (-14 + i / 2) for i in range(65)]
    assert stats.histogram.edges == pytest.approx(edges[there[0] : there[-1] + 2], rel=1e-15)


def check_bands(component: Component, score: np.ndarray) -> list[list[int]]:
    """Bands against every context's score; gives the contexts that belong to each band's examples."""
    top = math.floor(math.log2(score.max()))
    lot = lots(3, np.arange(CONTEXTS), 0)
    wanted = []
    for number, band in enumerate(component.bands):
        low, high = 2.0 ** (top - number), 2.0 ** (top - number + 1)
        inside = np.flatnonzero((score >= low) & (score < high))
        assert (band.low, band.high) == (low, high)
        assert band.contexts == len(inside)
        assert band.quantile_low == (score < low).mean() and band.quantile_high == (score < high).mean()
        wanted.append(inside[np.argsort(lot[inside])][:BAND].tolist())
    return wanted


def ordered(score: np.ndarray, k: int) -> list[int]:
    """The contexts of the k largest positive scores, of equal ones the earlier first."""
    order = sorted(range(len(score)), key=lambda context: (-score[context], context))
    return [context for context in order[:k] if score[context] > 0]


@pytest.mark.parametrize("family", FAMILIES)
def test_neurons_equal_a_computation_that_keeps_everything(
    family: str, collected: Callable[[str], tuple[Model, Atlas, Everything]]
) -> None:
    model, atlas, seen = collected(family)
    start_of = np.minimum((lots(3, np.arange(CONTEXTS), 1) * (LENGTH - WINDOW + 1)).astype(int), LENGTH - WINDOW)
    drawn = sorted(np.argsort(lots(3, np.arange(CONTEXTS), 0))[:RANDOM].tolist())
    for layer in model.subject.anatomy.layers:
        for index in (0, 7, layer.n_neurons - 1):
            act = seen.act[layer.index][:, :, index].numpy()
            component = atlas.component(Node("neuron", layer.index, index))
            check_stats(component, act[:, SKIP:])
            score = act[:, SKIP:].max(1)

            def check(example: Example, act: np.ndarray, value: float, peak: int) -> None:
                assert example.activation == value
                assert example.start + example.peak == peak
                strip = act[example.context, example.start : example.start + WINDOW]
                assert example.activations == pytest.approx(strip.tolist(), abs=float(np.abs(strip).max()) / 2000)
                ids = seen.ids[example.context, example.start : example.start + WINDOW].tolist()
                assert list(example.ids) == ids
                assert list(example.tokens) == [model.subject.text(token) for token in ids]

            assert [example.context for example in component.top] == ordered(score, TOP)
            assert [example.rank for example in component.top] == list(range(len(component.top)))
            bands = check_bands(component, score)
            assert [[example.context for example in band.examples] for band in component.bands] == bands
            peaks = act[:, SKIP:].argmax(1) + SKIP
            for example in [*component.top, *(example for band in component.bands for example in band.examples)]:
                check(example, act, score[example.context], peaks[example.context])
            if layer.gate is None:
                assert component.bottom == []
            else:
                lowest, where = act[:, SKIP:].min(1), act[:, SKIP:].argmin(1) + SKIP
                assert [example.context for example in component.bottom] == ordered(-lowest, BOTTOM)
                for example in component.bottom:
                    check(example, act, lowest[example.context], where[example.context])
            assert [example.context for example in component.random] == drawn
            for example in component.random:
                start = start_of[example.context]
                first = max(start, SKIP)
                span = act[example.context, first : start + WINDOW]
                assert example.start == start
                check(example, act, span.max(), first + int(span.argmax()))


@pytest.mark.parametrize("family", FAMILIES)
def test_heads_equal_a_computation_that_keeps_everything(
    family: str, collected: Callable[[str], tuple[Model, Atlas, Everything]]
) -> None:
    model, atlas, seen = collected(family)
    lower = np.tril_indices(LENGTH)
    for layer in model.subject.anatomy.layers:
        means = atlas.head_mean(layer.index)
        assert means is not None
        mixed = seen.mixed[layer.index][:, SKIP:].mean((0, 1)).numpy()
        assert means == pytest.approx(mixed, rel=1e-6, abs=1e-7)
        for index in range(layer.n_heads):
            node = Node("attn", layer.index, index)
            component = atlas.component(node)
            writes = seen.writes[layer.index][:, SKIP:, index].numpy()
            stats = component.stats
            assert stats is not None
            # Norms are recomputed here from whole vectors: equal to rounding in float32.
            assert stats.mean == pytest.approx(writes.mean(), rel=2e-6)
            assert stats.variance == pytest.approx(writes.var(), rel=2e-5)
            assert stats.maximum == pytest.approx(writes.max(), rel=2e-6)
            assert component.types is not None
            wanted = type_scores(seen.ids.numpy(), seen.pattern[layer.index][:, index].numpy())
            assert component.types.to_dict() == pytest.approx(wanted, rel=1e-6)
            pairs = seen.pairs[layer.index][:, index].numpy()
            score = pairs[:, SKIP:].max((1, 2))
            found = [example.context for example in component.top]
            assert score[found] == pytest.approx(score[ordered(score, TOP)], rel=2e-6)
            assert len(component.bands) > 0
            check_bands(component, score)
            for example in [*component.top, *component.random, *(e for band in component.bands for e in band.examples)]:
                square = pairs[example.context]
                assert example.activation == pytest.approx(score[example.context], rel=2e-6)
                assert example.source is not None
                assert square[example.peak, example.source] == pytest.approx(example.activation, rel=2e-6)
                assert example.activations == pytest.approx(square.max(1).tolist(), abs=float(square.max()) / 2000)
                assert example.attended == pytest.approx(square.max(0).tolist(), abs=float(square.max()) / 2000)
                rows = atlas.pairs(node, example.kind, example.rank, example.band).rows
                assert [value for row in rows for value in row] == pytest.approx(
                    square[lower].tolist(), abs=float(square.max()) / 2000
                )


def type_scores(ids: np.ndarray, pattern: np.ndarray) -> dict[str, float | None]:
    """The type scores, pair by pair."""
    found: dict[str, list[float]] = {name: [] for name in TYPES}
    for tokens, weights in zip(ids, pattern, strict=True):
        for p in range(1, len(tokens)):
            row = weights[p]
            found["previous"].append(row[p - 1])
            found["current"].append(row[p])
            found["first"].append(row[0])
            found["entropy"].append(-sum(a * math.log(a) for a in row if a > 0))
            earlier = [s for s in range(p) if tokens[s] == tokens[p]]
            if earlier:
                found["same"].append(row[earlier].sum())
            after = [s + 1 for s in earlier if s + 1 < p]
            if after:
                found["induction"].append(row[after].sum())
    return {name: float(np.mean(values)) if values else None for name, values in found.items()}


def test_another_cut_into_shards_gives_the_same_bytes(
    tiny: Callable[[str], Model], corpus: str, tmp_path: Path
) -> None:
    made = []
    for shard in (BATCH, 8, CONTEXTS):
        out = tmp_path / str(shard)
        collect(tiny("llama"), corpus, out=out, **{**SETTINGS, "shard_tokens": shard * LENGTH})
        manifest = json.loads((out / "atlas.json").read_text(encoding="utf-8"))
        assert manifest.pop("plan")["shard"] == shard
        made.append({**content(out), "atlas.json": json.dumps(manifest).encode()})
    assert made[0] == made[1] == made[2]


@pytest.mark.parametrize("at", [1, 4, 7, 11])
def test_a_cancelled_collection_goes_on_to_the_same_bytes(
    at: int, tiny: Callable[[str], Model], corpus: str, tmp_path: Path
) -> None:
    model = tiny("llama")
    collect(model, corpus, out=tmp_path / "whole", **SETTINGS)
    asked = 0

    def stop() -> bool:
        nonlocal asked
        asked += 1
        return asked > at + 5  # the reading of five shards asks too

    with pytest.raises(Cancelled):
        for _ in collecting(model, corpus, out=tmp_path / "cut", stop=stop, **SETTINGS):
            pass
    assert not (tmp_path / "cut").exists()
    first = next(progress for progress in collecting(model, corpus, out=tmp_path / "cut", **SETTINGS))
    assert first.stage in ("read", "collect")
    collect(model, corpus, out=tmp_path / "cut", **SETTINGS)
    assert content(tmp_path / "cut") == content(tmp_path / "whole")
    assert not list(tmp_path.glob(".collecting-*[!k]")), "the work folder is removed"


def test_a_damaged_partial_is_found_and_redone(tiny: Callable[[str], Model], corpus: str, tmp_path: Path) -> None:
    model = tiny("llama")
    collect(model, corpus, out=tmp_path / "whole", **SETTINGS)
    for progress in collecting(model, corpus, out=tmp_path / "cut", **SETTINGS):
        if progress.stage == "collect" and progress.done >= 3 * 8 * LENGTH:
            break
    shards = sorted((tmp_path / ".collecting-cut" / "shards").glob("*.safetensors"))
    assert len(shards) == 2
    with shards[0].open("r+b") as file:
        file.seek(-100, 2)
        byte = file.read(1)
        file.seek(-100, 2)
        file.write(bytes([byte[0] ^ 1]))
    shards[1].write_bytes(shards[1].read_bytes()[:1000])
    done = [p.done for p in collecting(model, corpus, out=tmp_path / "cut", **SETTINGS) if p.stage == "collect"]
    assert done[0] == BATCH * LENGTH, "both are collected again"
    assert content(tmp_path / "cut") == content(tmp_path / "whole")


def test_many_partials_are_joined_as_they_come(tiny: Callable[[str], Model], corpus: str, tmp_path: Path) -> None:
    most = 0
    settings = {**SETTINGS, "tokens": 1920, "shard_tokens": BATCH * LENGTH}
    for progress in collecting(tiny("llama"), corpus, out=tmp_path / "atlas", **settings):
        if progress.stage == "collect":
            most = max(most, len(list((tmp_path / ".collecting-atlas" / "shards").glob("*.safetensors"))))
    assert most == 8


def test_a_complete_atlas_is_left_alone_and_another_plan_refused(
    tiny: Callable[[str], Model], corpus: str, tmp_path: Path
) -> None:
    model, out = tiny("llama"), tmp_path / "atlas"
    collect(model, corpus, out=out, **SETTINGS)
    before = (out / "atlas.json").stat().st_mtime_ns
    assert list(collecting(model, corpus, out=out, **SETTINGS)) == []
    assert (out / "atlas.json").stat().st_mtime_ns == before
    with pytest.raises(AtlasExists, match=r"other settings \(keep\)"):
        collect(model, corpus, out=out, **{**SETTINGS, "top": 2})
    collect(model, corpus, out=out, replace=True, **{**SETTINGS, "top": 2})
    assert len(Reader.open(out).component(Node("neuron", 0, 0)).top) == 2
    other = tmp_path / "other"
    next(iter(collecting(model, corpus, out=other, **SETTINGS)))
    with pytest.raises(UnfinishedAtlas, match=r"\(seed\)"):
        collect(model, corpus, out=other, **{**SETTINGS, "seed": 4})
    other.mkdir()
    (other / "mine.txt").write_text("mine")
    with pytest.raises(AtlasExists, match="other things"):
        collect(model, corpus, out=other, **SETTINGS)
    assert (other / "mine.txt").read_text() == "mine"


def test_some_sites_only(tiny: Callable[[str], Model], corpus: str, tmp_path: Path) -> None:
    atlas = collect(tiny("llama"), corpus, out=tmp_path / "a", sites=["neuron.1", "attn.0-1"], **SETTINGS)
    assert atlas.info().sites == ["attn.0", "attn.1", "neuron.1"]
    whole = collect(tiny("llama"), corpus, out=tmp_path / "b", **SETTINGS)
    for node in (Node("neuron", 1, 5), Node("attn", 1, 2)):
        assert atlas.component(node) == whole.component(node)
    assert atlas.component(Node("neuron", 2, 5)).stats is None
    for sites in (["mlp"], ["neuron.3"], ["attn.2-1"], ["neuron.x"]):
        with pytest.raises(UsageError):
            collect(tiny("llama"), corpus, out=tmp_path / "c", sites=sites, **SETTINGS)


@pytest.mark.parametrize(
    "changed",
    [{"tokens": 0}, {"context": 1}, {"context": 65}, {"window": 0}, {"skip": 20}, {"batch": 0}, {"top": -1}],
)
def test_numbers_that_cannot_be_are_refused(
    changed: dict[str, int], tiny: Callable[[str], Model], corpus: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError):
        collect(tiny("llama"), corpus, out=tmp_path / "atlas", **{**SETTINGS, **changed})
    assert list(tmp_path.iterdir()) == []


def test_a_model_whose_weights_are_not_numbers_is_told(
    tiny: Callable[[str], Model], corpus: str, tmp_path: Path
) -> None:
    model = tiny("qwen2")
    weight = model.subject.anatomy.layers[1].up.module.weight
    assert isinstance(weight, torch.Tensor)
    before = weight[3, 3].item()
    weight[3, 3] = float("nan")
    try:
        with pytest.raises(NotFinite, match="layer 1"):
            collect(model, corpus, out=tmp_path / "atlas", **SETTINGS)
    finally:
        weight[3, 3] = before
    assert not (tmp_path / "atlas").exists()


def test_a_model_whose_modules_are_dispatched_gives_the_same_bytes(
    tiny: Callable[[str], Model], corpus: str, tmp_path: Path
) -> None:
    """As the layers of a model that is dealt to several GPUs are: accelerate's hooks are around every module."""
    from accelerate import dispatch_model

    from clew.debug import load

    model = tiny("gemma2")
    list(collecting(model, corpus, out=tmp_path / "plain", **SETTINGS))
    other = load(str(model.path))
    cpu = torch.device("cpu")
    places: dict[str, str | int | torch.device] = {f"model.layers.{layer}": cpu for layer in range(3)}
    places |= {"model.embed_tokens": cpu, "model.norm": cpu, "model.rotary_emb": cpu, "lm_head": cpu}
    dispatch_model(other.subject.hf, device_map=places, main_device=cpu, force_hooks=True)
    assert any(hasattr(module, "_hf_hook") for module in other.subject.hf.modules())
    list(collecting(other, corpus, out=tmp_path / "dispatched", **SETTINGS))
    assert content(tmp_path / "dispatched") == content(tmp_path / "plain")
