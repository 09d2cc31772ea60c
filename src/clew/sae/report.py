"""A report beside its autoencoder: `report.json`, and `report.html`, one file that needs nothing else."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from html import escape
from pathlib import Path
from typing import Any

from ..disk import written
from ..errors import BadAutoencoder, UnknownAutoencoder
from .pictures import cosine_picture, density_picture, probe_picture
from .ratings import ratings_of
from .records import AutoencoderInfo, Excerpt, Histogram, LatentSample, Probe, Report

JSON, HTML = "report.json", "report.html"


def write_report(folder: Path, report: Report) -> Path:
    """Writes both files, each whole or not at all, and gives the page's path. Raises NoSpace."""
    with written(folder / JSON) as partial:
        partial.write_text(json.dumps(report.to_dict(), indent=1, allow_nan=False), encoding="utf-8")
    with written(folder / HTML) as partial:
        partial.write_text(page(report), encoding="utf-8")
    return folder / HTML


def read_report(folder: Path) -> Report:
    """The report beside an autoencoder, with the ratings given since. Raises UnknownAutoencoder or BadAutoencoder."""
    path = folder / JSON
    try:
        report = _report(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError as error:
        raise UnknownAutoencoder(f"{folder.name} has not been judged.", "Run `clew sae eval` on it.") from error
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise BadAutoencoder(f"{path.name} of {folder.name} is damaged.", "Judge the autoencoder again.") from error
    return rated(report, folder)


def rated(report: Report, folder: Path) -> Report:
    """The report with the ratings that lie in a folder. Raises BadAutoencoder."""
    ratings = ratings_of(folder)
    return replace(report, samples=[replace(one, rating=ratings.get(one.index)) for one in report.samples])


def _report(kept: dict[str, Any]) -> Report:
    return Report(
        **{
            **kept,
            "autoencoder": AutoencoderInfo(**kept["autoencoder"]),
            "density": Histogram(**kept["density"]),
            "decoder_cosine": Histogram(**kept["decoder_cosine"]),
            "probes": [Probe(**probe) for probe in kept["probes"]],
            "samples": [
                LatentSample(**{**sample, "excerpts": [Excerpt(**excerpt) for excerpt in sample["excerpts"]]})
                for sample in kept["samples"]
            ],
        }
    )


def text_of(report: Report) -> str:
    """What it was judged on, in words."""
    known = {True: "that trainings set aside", False: "some of which it was trained on", None: "perhaps trained on"}
    return f"{report.tokens:,} tokens of {report.corpus}, {known[report.held_out]}"


def page(report: Report) -> str:
    """The report as a page of its own: no script, nothing loaded from elsewhere."""
    about = report.autoencoder
    site = about.reads if about.reads == about.writes else f"{about.reads} → {about.writes}"
    facts = [about.architecture, f"{about.latents:,} latents", site, about.model or "model not named"]
    if about.tokens is not None:
        facts.append(f"trained on {about.tokens:,} tokens")
    rows = "".join(
        f"<tr><th>{escape(name)}</th><td>{escape(value)}</td><td>{escape(meaning)}</td></tr>"
        for name, value, meaning in _measures(report)
    )
    probes = probe_picture(report.probes) if report.probes else "<p>Too little text for any label.</p>"
    return f"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(about.name)}: what it is worth</title>
<style>{_CSS}</style>
<h1>{escape(about.name)}</h1>
<p>{escape(" · ".join(facts))}</p>
<p>Judged on {escape(text_of(report))}, losses on {report.ce_tokens:,} of them.</p>
<h2>Measures</h2>
<table>{rows}</table>
<div class="pictures">
<figure><figcaption>How often latents fire</figcaption>{density_picture(report.density)}</figure>
<figure><figcaption>How alike latents are</figcaption>{cosine_picture(report.decoder_cosine)}</figure>
</div>
<h2>What latents tell of the text</h2>
<figure>{probes}</figure>
<h2>Latents drawn at random</h2>
{"".join(_sample(sample) for sample in report.samples)}
</html>
"""


def _measures(report: Report) -> list[tuple[str, str, str]]:
    n = report.autoencoder.latents
    recovered = "–" if report.ce_recovered is None else _number(report.ce_recovered)
    return [
        ("L0", _number(report.l0), "latents that fire on a token"),
        ("FVU", _number(report.fvu), "squared error over variance: 0 is perfect, 1 is what the mean scores"),
        ("explained variance", _number(report.explained_variance), "1 − FVU but for a constant error"),
        ("mean squared error", _number(report.mse), "of one number of the site"),
        ("cosine", _number(report.cosine), "of reconstruction and value"),
        ("shrinkage", _number(report.shrinkage), "size of reconstructions: 1 is right, less is too small"),
        ("loss", _number(report.ce_clean), "of the model as it is, nats a token"),
        ("… reconstructed", _number(report.ce_spliced), "with the reconstruction in the site's place"),
        ("… mean", _number(report.ce_mean), "with the site's mean in its place"),
        ("… zero", _number(report.ce_zero), "with zero in its place"),
        ("loss recovered", recovered, "share of what zero costs: 1 is perfect"),
        ("KL", _number(report.kl), "of the next token's distribution, nats"),
        ("dead", f"{report.dead:,} of {n:,}", "latents that fired on no token read"),
        ("dense", f"{report.dense:,} of {n:,}", "latents that fired on more than a tenth of them"),
        ("decoder cosine", _number(report.decoder_cosine_mean), "mean of each latent's largest with another"),
        ("description length", f"{_number(report.description_length)} bits", "a token, 8 bits a strength"),
    ]


def _sample(sample: LatentSample) -> str:
    head = f"{sample.index:,}" + (f" · {sample.rating}" if sample.rating else "")
    facts = (
        f"fires on {sample.density:.2%} of tokens · largest {_number(sample.maximum)} · "
        f"mean where it fires {_number(sample.mean_active)} · nearest other {_number(sample.max_cosine)}"
    )
    excerpts = "".join(f"<p class=text>{_excerpt(excerpt, sample.maximum)}</p>" for excerpt in sample.excerpts)
    return f"<h3>Latent {escape(head)}</h3><p>{escape(facts)}</p>{excerpts or '<p>It fired on nothing.</p>'}"


def _excerpt(excerpt: Excerpt, maximum: float) -> str:
    spans = []
    for i, (text, value) in enumerate(zip(excerpt.texts, excerpt.activations, strict=True)):
        shown = escape(visible(text))
        if value > 0 and maximum > 0:
            mark = ' class="at"' if i == excerpt.at else ""
            alpha = opacity(value, maximum)
            shown = f'<span{mark} style="--a:{alpha:.3f}" title="{_number(value)}">{shown}</span>'
        spans.append(shown)
    return "".join(spans)


def opacity(value: float, maximum: float) -> float:
    """How strongly an activation is coloured: weak ones stay visible."""
    return 0.05 + 0.95 * math.log10(1 + 9 * min(1.0, value / maximum))


_VISIBLE: Mapping[str, str] = {" ": "␣", "\n": "↵", "\t": "⇥", "\r": "␍"}


def visible(text: str) -> str:
    """A token with its white space made visible."""
    return "".join(_VISIBLE.get(char, char) for char in text)


def _number(value: float) -> str:
    """Three significant digits."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:#.3g}".rstrip(".")


_CSS = """
:root{color-scheme:light dark;--ink:#1e293b;--soft:#64748b;--line:#e2e8f0;--paper:#fff}
@media (prefers-color-scheme:dark){:root{--ink:#e2e8f0;--soft:#94a3b8;--line:#334155;--paper:#0f172a}}
body{font:14px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--paper);max-width:960px;margin:2rem auto;
padding:0 1rem}
h1{font-size:1.4rem}h2{font-size:1.1rem;margin-top:2rem}h3{font-size:1rem;margin:1.5rem 0 0}
table{border-collapse:collapse}th,td{text-align:left;padding:.2rem .8rem .2rem 0;border-bottom:1px solid var(--line);
font-weight:400;vertical-align:top}td:nth-child(2){font-variant-numeric:tabular-nums;white-space:nowrap}
td:nth-child(3),figcaption,h3+p{color:var(--soft)}
.pictures{display:grid;grid-template-columns:repeat(auto-fit,minmax(300px,1fr));gap:1rem}
figure{margin:1rem 0}svg{max-width:100%;height:auto}
.text{font:12px/1.9 ui-monospace,monospace;margin:.3rem 0;overflow-wrap:anywhere}
.text span{background:rgb(16 185 129/var(--a));border-radius:3px}.text .at{outline:1px solid var(--ink)}
"""
