"""Sparse probing: can a few latents tell what is plainly there in the text?

Labels come from the text itself, so nothing has to be annotated or downloaded. For each the latents are chosen whose
mean on tokens with the label differs most from that on tokens without it, in units of the latent's own standard
deviation, and a logistic regression on them is tried on other texts; one on the site's whole value says how much could
be told at all. After Gurnee et al. 2023 ("Finding Neurons in a Haystack") and SAEBench's sparse probing, which take the
difference as it is: a few tokens of huge norm then choose the latents (docs/judging.md).
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from .autoencoder import Autoencoder
from .records import Probe

KS = (1, 5)
LEAST = 20  # tokens with a label, and without it, that either half must hold for the label to be probed
STRENGTH = 0.01  # scikit-learn's C: of 1 to 1e-4 the best for the whole value of mlp_out.10 of SmolLM2, 5,000 tokens
CHANCE = 0.5  # balanced accuracy of who always says the same

_AT_ONCE = 2**24  # latents' activations held at once: 64 MiB
_OPENING, _CLOSING = "([{", ")]}"


def labels_of(texts: Sequence[str]) -> dict[str, list[bool]]:
    """What is plainly true of each token of one context, by name.

    - number: digits and nothing else. punctuation: neither letters, digits nor space. capitalised: its first letter is
      a capital. uppercase: two letters or more, all capitals. whitespace: nothing but space.
    - starts a word, inside a word: its first character but for space is a letter or digit, and nothing but space or
      punctuation stands before it, or a letter or digit does.
    - first of a line: the token before it ends the line. in brackets: one opened earlier in the context is not closed.
      in a string: an odd number of " before it in its line.
    - repeated: the same text stood earlier in the context. early: in the first quarter of the context.
    """
    names = (
        "number", "punctuation", "capitalised", "uppercase", "whitespace", "starts a word", "inside a word",
        "first of a line", "in brackets", "in a string", "repeated", "early",
    )  # fmt: skip
    found: dict[str, list[bool]] = {name: [] for name in names}
    before, depth, quoted = "", 0, False
    seen: set[str] = set()
    for position, text in enumerate(texts):
        bare = text.strip()
        letters = [char for char in bare if char.isalpha()]
        is_word = bool(bare) and bare[0].isalnum()
        goes_on = is_word and not text[0].isspace() and before[-1:].isalnum()
        true = {
            "number": bare.isdigit(),
            "punctuation": bool(bare) and not any(char.isalnum() or char.isspace() for char in bare),
            "capitalised": bool(letters) and letters[0].isupper(),
            "uppercase": len(letters) > 1 and all(char.isupper() for char in letters),
            "whitespace": bool(text) and not bare,
            "starts a word": is_word and not goes_on,
            "inside a word": goes_on,
            "first of a line": before.endswith("\n"),
            "in brackets": depth > 0,
            "in a string": quoted,
            "repeated": text in seen,
            "early": 4 * position < len(texts),
        }
        for name in names:
            found[name].append(true[name])
        for char in text:
            depth = depth + 1 if char in _OPENING else max(0, depth - 1) if char in _CLOSING else depth
            quoted = False if char == "\n" else not quoted if char == '"' else quoted
        before = text or before
        seen.add(text)
    return found


def probing(
    autoencoder: Autoencoder,
    x: Float[Tensor, "m d_in"],
    labels: dict[str, Bool[np.ndarray, " m"]],
    training: Bool[np.ndarray, " m"],
) -> Iterator[list[Probe]]:
    """The probes of one label after another, one for each of KS; none for a label with too few tokens.

    `x` is what the autoencoder reads at some tokens, `training` says of each whether it is learned from or tried on.
    Accuracies are balanced: the mean of the shares of tokens told rightly with the label and without it.
    """
    names = list(labels)
    wanted = np.stack([labels[name] for name in names])
    best = _best(autoencoder, x, wanted, training)
    chosen = _encoded(autoencoder, x, best)
    whole = x.cpu().float().numpy()
    for row, name in enumerate(names):
        true = wanted[row]
        counts = [int((true[half] == side).sum()) for half in (training, ~training) for side in (True, False)]
        if min(counts) < LEAST:
            yield []
            continue
        ceiling = _accuracy(whole, true, training)
        yield [
            Probe(name, int(true.sum()), k, _accuracy(chosen[:, row, :k], true, training), ceiling, CHANCE)
            for k in KS
            if k <= autoencoder.n_latents
        ]


def _chunks(autoencoder: Autoencoder, x: Float[Tensor, "m d_in"]) -> Iterator[tuple[slice, Float[Tensor, "c n"]]]:
    step = max(1, _AT_ONCE // autoencoder.n_latents)
    for start in range(0, len(x), step):
        at = slice(start, min(start + step, len(x)))
        yield at, autoencoder.encode(x[at])


def _best(
    autoencoder: Autoencoder,
    x: Float[Tensor, "m d_in"],
    labels: Bool[np.ndarray, "l m"],
    training: Bool[np.ndarray, " m"],
) -> Float[Tensor, "l k"]:
    """The latents whose means over the training tokens with and without each label differ most, the most first.

    Differences are in units of a latent's standard deviation over the training tokens; one that is constant has none.
    """
    device = x.device
    sides = np.concatenate((labels & training, ~labels & training, training[None]))
    rows = torch.from_numpy(sides).to(device, torch.float32)
    sums = torch.zeros(len(rows), autoencoder.n_latents, dtype=torch.float64)
    squares = torch.zeros(autoencoder.n_latents, dtype=torch.float64)
    for at, latents in _chunks(autoencoder, x):
        sums += (rows[:, at] @ latents).cpu().double()
        squares += (rows[-1, at] @ latents.square()).cpu().double()
    counts = rows.sum(1).cpu().double().clamp_min(1)
    means = sums / counts[:, None]
    with_label, without = means[:-1].chunk(2)
    variance = squares / counts[-1] - means[-1].square()
    # Below float32's own rounding of the squares there is no telling a variance from none.
    spread = torch.where(variance > 1e-6 * squares / counts[-1], variance, torch.inf).sqrt()
    differences = (with_label - without).abs() / spread
    return differences.sort(dim=1, descending=True, stable=True).indices[:, : max(KS)]


def _encoded(autoencoder: Autoencoder, x: Tensor, indexes: Tensor) -> np.ndarray:
    """The activations of some latents, [m, l, k]."""
    found = np.zeros((len(x), *indexes.shape), dtype=np.float32)
    for at, latents in _chunks(autoencoder, x):
        found[at] = latents[:, indexes.to(latents.device)].cpu().numpy()
    return found


def _accuracy(
    features: Float[np.ndarray, "m f"], true: Bool[np.ndarray, " m"], training: Bool[np.ndarray, " m"]
) -> float:
    """The balanced accuracy, on the other tokens, of a logistic regression that learned from the training ones."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    mean, spread = features[training].mean(0), features[training].std(0)
    scaled = (features - mean) / np.where(spread > 0, spread, 1)
    probe = LogisticRegression(C=STRENGTH, class_weight="balanced", max_iter=200, tol=1e-3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the last digits of its weights decide nothing here
        probe.fit(scaled[training], true[training])
    told = probe.predict(scaled[~training])
    right = true[~training]
    return float((told[right].mean() + 1 - told[~right].mean()) / 2)
