"""`clew show`: one component, by its examples, its statistics, its weights and a prompt."""

from __future__ import annotations

from collections.abc import Sequence
from math import log10, sqrt
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.text import Text

from ..errors import UsageError
from ..settings import DEFAULT_MODEL
from .answer import placed
from .atlas import AtlasOption, opened
from .strips import Strip
from .terminal import (
    BosOption,
    DeviceOption,
    DtypeOption,
    JsonOption,
    ModelOption,
    RevisionOption,
    SaeOption,
    console,
    load,
    number,
    percent,
    print_json,
    read_text,
    signed,
    visible,
)

if TYPE_CHECKING:
    from ..atlas.records import (
        AtlasInfo,
        CoFiring,
        Component,
        Example,
        HeadTypes,
        Histogram,
        OnPrompt,
        Relation,
        Stats,
        Weights,
    )
    from ..records import Records, TokenScore

EXAMPLES = 5  # of each kind that fit a screen

_LEVELS = "▁▂▃▄▅▆▇█"
_LABEL = 9  # cells for the number in front of an example


def show(
    component: Annotated[str, typer.Argument(help="neuron.L.N, attn.L.H or latent.SITE.L.J, such as neuron.5.200.")],
    prompt: Annotated[
        str | None, typer.Option(help="Also what it does on this text; - reads it from standard input.")
    ] = None,
    examples: Annotated[int, typer.Option(min=0, help="Examples of each kind to print; 0 prints all.")] = EXAMPLES,
    model: ModelOption = DEFAULT_MODEL,
    revision: RevisionOption = None,
    atlas: AtlasOption = None,
    sae: SaeOption = None,
    device: DeviceOption = None,
    dtype: DtypeOption = None,
    bos: BosOption = False,
    as_json: JsonOption = False,
) -> None:
    """Show a component: what makes it fire, how often and how strongly, what it writes, who reads that.

    Examples and statistics come from an atlas (clew collect); without one the weights and the prompt have their say.

    clew show neuron.5.200
    """
    if bos and prompt is None:
        raise UsageError("--bos says how to read a prompt.", "Leave it out, or give --prompt.")
    text = None if prompt is None else read_text(prompt)
    subject = load(model, revision, device, dtype, sae)
    components = opened(subject, atlas, sae)
    info = None if components.atlas is None else components.atlas.info()
    found = components.component(component)
    on_prompt = None if text is None else components.on_prompt(component, text, bos)
    weights = components.weights(component)
    cofiring = [] if components.atlas is None else components.cofiring(component)
    if as_json:
        print_json(
            {
                "component": found.to_dict(),
                "weights": weights.to_dict(),
                "cofiring": [one.to_dict() for one in cofiring],
                "prompt": None if on_prompt is None else on_prompt.to_dict(),
                "atlas": None if info is None else info.to_dict(),
            }
        )
        return
    page = _Page(console(), found, examples)
    page.head(subject.name, info)
    if on_prompt is not None:
        page.on_prompt(on_prompt)
    if found.stats is not None:
        page.statistics(found.stats, found.types, on_prompt)
    page.examples()
    page.weights(weights)
    page.cofiring(cofiring)
    page.hint(info)


class _Page:
    """A component's page, printed part by part."""

    def __init__(self, terminal: Console, component: Component, examples: int) -> None:
        self._terminal, self._component = terminal, component
        self._examples = examples
        self._coloured = terminal.color_system is not None

    def head(self, model: str, info: AtlasInfo | None) -> None:
        """Whose it is, over what text, and who stands beside it."""
        component = self._component
        kind = "head" if component.kind == "attn" else component.kind
        place = f"layer {component.layer}, {model}"
        if component.autoencoder is not None:
            place = f"{component.autoencoder.name} at {component.autoencoder.writes}, {model}"
        line = Text.assemble((component.id, "bold"), f"  {kind} {component.index} of {place}")
        beside = [f"before: {component.previous}"] if component.previous else []
        beside += [f"after: {component.next}"] if component.next else []
        line.append(f"   {'   '.join(beside)}", "dim")
        self._terminal.print(line, soft_wrap=True)
        if info is not None:
            source = f"imported from {info.imported}" if info.imported else f"{info.tokens:,} tokens of {info.corpus}"
            self._terminal.print(Text(f"Atlas {info.name}: {source}", "dim"), soft_wrap=True)

    def on_prompt(self, found: OnPrompt) -> None:
        """What it does on the prompt: the tokens, the strongest, and how unusual that is."""
        self._title("On the prompt")
        values = found.activations
        peak = max(range(len(values)), key=lambda i: abs(values[i]))
        strip = Strip([token.text for token in found.tokens], values, peak, found.attended, _source(found, peak))
        self._terminal.print(strip.whole(self._coloured))
        self._legend(found.attended is not None)
        said = Text.assemble("strongest ", (signed(values[peak]), "bold"), f" at {placed(found.tokens[peak])}")
        source = _source(found, peak)
        if source is not None:
            said.append(f" from {placed(found.tokens[source])}")
        if found.writes is not None:
            said.append(f"; its whole write there has norm {number(found.writes[peak])}")
        if found.z is not None:
            said.append(f"; z {signed(found.z[peak])}")
        if found.below is not None:
            said.append(f", above {percent(found.below[peak])} of the corpus's tokens")
        self._terminal.print(said)

    def statistics(self, stats: Stats, types: HeadTypes | None, on_prompt: OnPrompt | None) -> None:
        """How often and how strongly it fires."""
        self._title("Norm of its write, over the corpus" if types is not None else "Activation, over the corpus")
        facts = [
            ("density", None if stats.density is None else percent(stats.density)),
            ("strong", None if stats.strong is None else percent(stats.strong)),
            ("mean", signed(stats.mean)),
            ("deviation", number(sqrt(stats.variance))),
            ("skewness", None if stats.skewness is None else signed(stats.skewness)),
            ("kurtosis", None if stats.kurtosis is None else number(stats.kurtosis)),
            ("minimum", None if stats.minimum is None else signed(stats.minimum)),
            ("maximum", signed(stats.maximum)),
        ]
        self._facts(facts)
        if stats.histogram is not None:
            self._terminal.print()
            self._terminal.print(Text("Tokens by activation, both in logarithms", "dim"))
            self._terminal.print(self._histogram(stats.histogram, on_prompt))
        if types is not None:
            names = ("previous", "current", "first", "same", "induction")
            shares = [(name, getattr(types, name)) for name in names]
            self._title("Attends, on average")
            self._facts(
                [
                    *((f"{name} token", None if share is None else percent(share)) for name, share in shares),
                    ("entropy", None if types.entropy is None else f"{number(types.entropy)} nats"),
                ]
            )

    def examples(self) -> None:
        """The examples of every kind."""
        component = self._component
        self._listed("Strongest", component.top)
        if component.top:
            self._legend(component.kind == "attn")
        self._listed("Most negative", component.bottom)
        for band in component.bands:
            title = _between(band.low, band.high)
            if band.contexts is not None:
                title += f": {band.contexts:,} context{'' if band.contexts == 1 else 's'}"
            if band.quantile_low is not None and band.quantile_high is not None:
                title += f", quantiles {percent(band.quantile_low)} to {percent(band.quantile_high)}"
            self._listed(title, band.examples)
        self._listed("At random", component.random)

    def weights(self, weights: Weights) -> None:
        """What its weights say."""
        self._title("By its weights")
        if weights.note is not None:
            self._terminal.print(Text(weights.note, "dim"))
        write = "its mean write" if self._component.kind == "attn" else "it"
        unknown = [Text("known with an atlas only", "dim")] if self._component.kind == "attn" else []
        rows = [
            (f"tokens {write} pushes up", unknown if weights.up is None else _tokens(weights.up)),
            (f"tokens {write} pushes down", unknown if weights.down is None else _tokens(weights.down)),
            ("tokens that excite it", _tokens(weights.excited_by or ())),
            ("fed by", _related(weights.fed_by)),
            ("feeds", _related(weights.feeds)),
            ("writes like", _related(weights.alike)),
        ]
        # The note has said why something is missing.
        shown = [row for row in rows if row[1] or weights.note is None]
        if shown:
            self._table(shown)

    def cofiring(self, found: Sequence[CoFiring] | Records[CoFiring]) -> None:
        """Who fires where it does."""
        if not found:
            return
        self._title("Fires on the same tokens")
        entries = [_entry(one.id, percent(one.share)) for one in found]
        self._terminal.print(_flow(entries, self._terminal.width, "  "))

    def hint(self, info: AtlasInfo | None) -> None:
        """What one could do next."""
        component = self._component
        site = component.id.rpartition(".")[0]
        self._terminal.print()
        how = f"clew collect --sites {site}" + (" --sae …" if component.kind == "latent" else "")
        if info is None:
            needed = how if component.kind == "latent" else "clew collect"
            text = f"Its examples and statistics need an atlas: {needed}"
        elif site not in info.sites:
            text = f"The atlas has none of {site}: {how} adds it, with the settings that the rest was collected with."
        else:
            shown = max(map(len, (component.top, component.random)))
            more = "All examples: --examples 0, or --json. " if 0 < self._examples < shown else ""
            text = f"{more}In a browser: clew serve"
        self._terminal.print(Text(text, "dim"))

    def _title(self, text: str) -> None:
        self._terminal.print()
        self._terminal.print(Text(text, "bold"))

    def _legend(self, head: bool) -> None:
        if head and self._coloured:
            self._terminal.print(Text("pink: attended from, light blue: attended to; the peak is underlined", "dim"))
        elif not self._coloured:
            self._terminal.print(Text("«the peak»" + (" ‹the token it reads›" if head else ""), "dim"))

    def _listed(self, title: str, examples: Sequence[Example]) -> None:
        if not examples:
            return
        self._title(title)
        for example in examples if self._examples == 0 else examples[: self._examples]:
            line = Text()
            line.append(signed(example.activation).rjust(_LABEL - 1), "bold").append(" ")
            strip = Strip(example.tokens, example.activations, example.peak, example.attended, example.source)
            line.append_text(strip.line(max(20, self._terminal.width - _LABEL), self._coloured))
            self._terminal.print(line, no_wrap=True, overflow="ellipsis", crop=True)

    def _facts(self, facts: Sequence[tuple[str, str | None]]) -> None:
        entries = [Text.assemble((f"{name} ", "dim"), value or "–") for name, value in facts]
        self._terminal.print(_flow(entries, self._terminal.width, "   "))

    def _table(self, rows: Sequence[tuple[str, Sequence[Text]]]) -> None:
        label = max(len(name) for name, _ in rows) + 2
        beside = self._terminal.width >= 2 * label
        for name, entries in rows:
            text = _flow(entries, self._terminal.width - (label if beside else 2), "  ")
            first, rest = (name.ljust(label), " " * label) if beside else (f"{name}\n  ", "  ")
            for i, line in enumerate(text.split("\n")):
                self._terminal.print(Text.assemble((rest if i else first, "dim"), line))

    def _histogram(self, histogram: Histogram, on_prompt: OnPrompt | None) -> Text:
        """A bar a bin, as high as the logarithm of its count; below it where the prompt's strongest falls."""
        edges, counts = list(histogram.edges), list(histogram.counts)
        low, high = signed(edges[0]), signed(edges[-1])
        while len(counts) > max(8, self._terminal.width - len(low) - len(high) - 2):
            # Bins by twos, where there is no room for all.
            counts = [sum(counts[i : i + 2]) for i in range(0, len(counts), 2)]
            edges = [*edges[:-1:2], edges[-1]]
        largest = log10(1 + max(counts))
        top = len(_LEVELS) - 1
        bars = "".join(_LEVELS[round(log10(1 + count) / largest * top)] if count else " " for count in counts)
        text = Text.assemble((f"{low} ", "dim"), (bars, "#10b981"), (f" {high}", "dim"))
        values = None if on_prompt is None else on_prompt.writes or on_prompt.activations
        if values:
            at = sum(edge <= max(values) for edge in edges[1:-1])
            text.append("\n" + " " * (len(low) + 1 + at) + "▲ the prompt", "dim")
        return text


def _between(low: float | None, high: float | None) -> str:
    """A band by its ends, which imported data need not have."""
    if low is None or high is None:
        if low is not None:
            return f"From {signed(low)}"
        return "Drawn from a quantile" if high is None else f"Below {signed(high)}"
    return f"From {signed(low)} to {signed(high)}"


def _source(found: OnPrompt, peak: int) -> int | None:
    """The token that a head's largest value at the peak comes from."""
    if found.pairs is None:
        return None
    row = found.pairs[peak]
    return max(range(len(row)), key=row.__getitem__)


def _tokens(found: Sequence[TokenScore]) -> list[Text]:
    return [_entry(visible(token.text), signed(token.score)) for token in found]


def _related(found: Sequence[Relation]) -> list[Text]:
    return [_entry(one.id if one.through is None else f"{one.id}:{one.through}", signed(one.weight)) for one in found]


def _entry(name: str, number: str) -> Text:
    return Text.assemble(name, (f" {number}", "dim"))


def _flow(entries: Sequence[Text], width: int, gap: str) -> Text:
    """Entries in lines of at most `width` cells, each whole."""
    text, used = Text(), 0
    for entry in entries:
        if used and used + len(gap) + entry.cell_len > width:
            text.append("\n")
            used = 0
        elif used:
            text.append(gap)
            used += len(gap)
        text.append_text(entry)
        used += entry.cell_len
    return text
