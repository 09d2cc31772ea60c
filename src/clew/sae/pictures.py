"""Pictures as SVG text: one size of type, colours that follow the page where they stand in one."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Sequence
from functools import wraps
from typing import TYPE_CHECKING, Any, ParamSpec

import numpy as np

from .records import Histogram, Probe, ToyRun

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

P = ParamSpec("P")

EMERALD, BLUE, ORANGE = "#059669", "#2563eb", "#ea580c"
_INK = "#123456"  # replaced by the page's own text colour
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "clew",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": _INK,
    "axes.labelcolor": _INK,
    "axes.linewidth": 0.6,
    "text.color": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "legend.frameon": False,
}


def _styled(draw: Callable[P, str]) -> Callable[P, str]:
    @wraps(draw)
    def styled(*args: P.args, **kwargs: P.kwargs) -> str:
        from matplotlib import rc_context

        with rc_context(_STYLE):
            return draw(*args, **kwargs)

    return styled


@_styled
def density_picture(density: Histogram) -> str:
    """How many latents fire on which share of tokens; those that never do are a bar of their own, on the left."""
    figure, axes = _figure(5.2, 2.6)
    edges = np.array(density.edges)
    axes.bar(edges[:-1], density.counts, np.diff(edges), align="edge", color=EMERALD)
    axes.bar([edges[0] - 1], [density.below], [0.25], align="edge", color=ORANGE)
    ticks = [edges[0] - 0.875, *range(math.ceil(edges[0]), math.floor(edges[-1]) + 1)]
    axes.set_xticks(ticks, ["never", *(f"{10.0**tick:.0e}" if tick < -3 else f"{10.0**tick:g}" for tick in ticks[1:])])
    axes.tick_params(axis="x", labelsize=8)
    axes.set_xlabel("share of tokens on which a latent fires")
    axes.set_ylabel("latents")
    return _svg(figure)


@_styled
def cosine_picture(cosine: Histogram) -> str:
    """How close the nearest other latent is."""
    figure, axes = _figure(5.2, 2.6)
    edges = np.array(cosine.edges)
    axes.bar(edges[:-1], cosine.counts, np.diff(edges), align="edge", color=EMERALD)
    filled = np.flatnonzero(cosine.counts)
    low = float(edges[filled[0]]) if len(filled) else 0.0
    axes.set_xlim(min(0.0, low), 1)
    axes.set_xlabel("largest cosine with another latent's decoder row")
    axes.set_ylabel("latents")
    return _svg(figure)


@_styled
def probe_picture(probes: Sequence[Probe]) -> str:
    """What one latent and a few tell, beside what the whole site tells."""
    labels = list(dict.fromkeys(probe.label for probe in probes))
    ks = sorted({probe.k for probe in probes})
    figure, axes = _figure(5.2, 0.9 + 0.34 * max(1, len(labels)))
    height = 0.8 / max(1, len(ks))
    rows = {label: row for row, label in enumerate(labels)}
    for i, (k, colour) in enumerate(zip(ks, (EMERALD, BLUE), strict=False)):
        some = [probe for probe in probes if probe.k == k]
        places = [rows[probe.label] - 0.4 + (i + 0.5) * height for probe in some]
        name = "the best latent" if k == 1 else f"the best {k} latents"
        axes.barh(places, [probe.accuracy - probe.chance for probe in some], height, left=[p.chance for p in some],
                  color=colour, label=name)  # fmt: skip
    ceilings = {probe.label: probe.ceiling for probe in probes}
    axes.plot([ceilings[label] for label in labels], range(len(labels)), "|", markersize=14, color=ORANGE,
              label="the whole site")  # fmt: skip
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(len(labels) - 0.5, -0.5)
    axes.set_xlim(0.45, 1.02)
    axes.set_xlabel("balanced accuracy (½ is chance)")
    axes.legend(loc="lower center", bbox_to_anchor=(0.4, 1.0), ncols=3, fontsize=8)
    return _svg(figure)


@_styled
def toy_picture(runs: Sequence[ToyRun], cosines: Sequence[Sequence[float]]) -> str:
    """Of each run the cosines of its features with their latents, sorted, and how many latents fire for how many
    features."""
    sources = list(dict.fromkeys(run.source for run in runs))
    figure, grid = _grid(len(sources))
    palette = (EMERALD, BLUE, ORANGE, "#9333ea", "#64748b")
    architectures = list(dict.fromkeys(run.architecture for run in runs))
    colours = {name: palette[i % len(palette)] for i, name in enumerate(architectures)}
    for row, source in enumerate(sources):
        sorted_axes, l0_axes = grid[row]
        some = [(run, found) for run, found in zip(runs, cosines, strict=True) if run.source == source]
        for run, found in some:
            ordered = np.sort(found)[::-1]
            sorted_axes.plot(np.linspace(0, 100, len(ordered)), ordered, color=colours[run.architecture], linewidth=1.4,
                             label=f"{run.architecture}  {run.mcc:.3f}")  # fmt: skip
        sorted_axes.set_ylim(min(0.0, *(min(found) for _, found in some)) - 0.03, 1.05)
        sorted_axes.set_title(source, fontsize=9, loc="left")
        sorted_axes.set_xlabel("features, the best found first (%)")
        sorted_axes.set_ylabel("cosine with its latent")
        sorted_axes.legend(title="mean", loc="lower left", fontsize=8, title_fontsize=8)
        names = [run.architecture for run, _ in some]
        l0_axes.barh(names, [run.l0 for run, _ in some], 0.6, color=[colours[name] for name in names])
        true = some[0][0].true_l0
        l0_axes.axvline(true, color=_INK, linewidth=1, linestyle=":")
        l0_axes.set_title(f"truly {true:.1f} on", fontsize=9, loc="left")
        l0_axes.set_xlabel("latents that fire")
        l0_axes.invert_yaxis()
    return _svg(figure)


def _figure(width: float, height: float) -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.add_subplot()


def _grid(rows: int) -> tuple[Figure, list[list[Axes]]]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.4, 3.1 * rows), layout="constrained")
    return figure, figure.subplots(rows, 2, squeeze=False, width_ratios=(3, 2)).tolist()


def _svg(figure: Figure) -> str:
    drawn = io.StringIO()
    figure.savefig(drawn, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    whole = drawn.getvalue()
    return whole[whole.index("<svg") :].replace(_INK, "currentColor")
