"""What to train, and how: checked before anything is computed."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import Any, get_args

from ..errors import UsageError
from ..nodes import Site, parse_site
from .records import Architecture, Loss

ARCHITECTURES: tuple[Architecture, ...] = get_args(Architecture)
LOSSES: tuple[Loss, ...] = get_args(Loss)


@dataclass(frozen=True)
class Recipe:
    """One autoencoder to train.

    `k` is how many latents fire (topk: per token; batchtopk and matryoshka: on average). `sparsity` is λ of relu's L1
    or of jumprelu's L0 penalty; None takes the architecture's own default. `loss` is that of relu (field.md §5).
    `writes` makes a transcoder, `skip` with a linear term. `nested` are the sizes of matryoshka's inner dictionaries
    as shares of the whole; `resample` turns relu's resampling of dead latents off. `seed` draws the first weights.
    Intervals that the 2023 recipe gives in steps are scaled for short runs (docs/training.md).
    """

    site: Site
    latents: int
    architecture: Architecture = "topk"
    k: int = 32
    sparsity: float | None = None
    loss: Loss = "2023"
    learning_rate: float | None = None
    writes: Site | None = None
    skip: bool = False
    nested: tuple[float, ...] = (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1.0)
    auxiliary: float = 1 / 32
    bandwidth: float = 1e-3
    resample: bool = True
    seed: int = 0

    @property
    def target(self) -> Site:
        """The site that is reconstructed."""
        return self.site if self.writes is None else self.writes

    @property
    def name(self) -> str:
        """Short, and another for every other recipe of one training: such as mlp_out.10-topk-4608-k32."""
        words = [str(self.site), self.architecture, str(self.latents)]
        if self.writes is not None:
            words.insert(1, f"to-{self.writes}")
        if self.architecture in ("relu", "jumprelu"):
            words += [] if self.sparsity is None else [f"l{self.sparsity:g}"]
            words += ["2024"] if self.architecture == "relu" and self.loss == "2024" else []
        else:
            words.append(f"k{self.k}")
        words += ["skip"] if self.skip else []
        words += [] if self.resample or self.architecture != "relu" else ["unresampled"]
        words += [f"s{self.seed}"] if self.seed else []
        return "-".join(words)

    def checked(self) -> Recipe:
        """The recipe. Raises UsageError for numbers that make no sense."""
        if self.architecture not in ARCHITECTURES:
            raise UsageError(
                f"{self.architecture!r} is not an architecture.", f"Use one of {', '.join(ARCHITECTURES)}."
            )
        if self.loss not in LOSSES:
            raise UsageError(f"{self.loss!r} is not a loss.", f"Use one of {', '.join(LOSSES)}.")
        if not 1 <= self.latents <= 2**24:
            raise UsageError(f"{self.latents:,} is not a number of latents.", "Take a few times the site's width.")
        if self.architecture in ("topk", "batchtopk", "matryoshka") and not 1 <= self.k <= self.latents:
            raise UsageError(
                f"k = {self.k:,} of {self.latents:,} latents cannot fire.", "Take a k from 1 to the number of latents."
            )
        for name in ("sparsity", "learning_rate", "bandwidth", "auxiliary"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value >= 0):
                raise UsageError(f"{name} must not be negative, and is {value}.", "Leave it out for the default.")
        if self.skip and self.writes is None:
            raise UsageError("A skip term is a transcoder's.", "Name the site to write, or leave it out.")
        if self.site.name == "mlp_in" and self.writes is None:
            raise UsageError(f"{self.site} is read by transcoders only.", "Name the site to write, such as mlp_out.")
        if self.target.name == "mlp_in":
            raise UsageError(f"{self.target} cannot be written.", "Write mlp_out of the same layer.")
        if self.writes is not None and self.writes.layer < self.site.layer:
            raise UsageError(f"{self.writes} is computed before {self.site}.", "A transcoder writes what comes later.")
        if not self.nested or any(not 0 < share <= 1 for share in self.nested) or self.nested[-1] != 1:
            raise UsageError("The nested sizes must be shares that end in 1.", "Such as 0.125, 0.25, 0.5, 1.")
        return self

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; `of` reads it."""
        sites = {"site": str(self.site), "writes": None if self.writes is None else str(self.writes)}
        return asdict(self) | sites | {"nested": list(self.nested)}

    @classmethod
    def of(cls, given: dict[str, Any]) -> Recipe:
        """The recipe that `to_dict` gave."""
        writes = given.get("writes")
        return replace(
            cls(parse_site(given["site"]), given["latents"]),
            **{key: value for key, value in given.items() if key not in ("site", "latents", "writes", "nested")},
            writes=None if writes is None else parse_site(writes),
            nested=tuple(given["nested"]),
        )


@dataclass(frozen=True)
class TrainingPlan:
    """One pass over a corpus, and what learns from it.

    `tokens` are trained on, `batch` of them in a step; contexts of `context` tokens, with the model's start token first
    if `bos`; neither it nor the first `skip` positions are trained on. `buffer` tokens are held to draw from. The
    learning rate warms up over the first `warmup` and goes down to zero over the last `decay` of the steps (shares);
    gradients are clipped to the norm `clip`. A row is logged every `log_every` steps (None: 10, fewer in a short run),
    a checkpoint saved every `save_every` tokens. A latent is dead when it fired on none of the last `dead_tokens`
    tokens (None: 10 million, or a quarter of a shorter run).
    """

    recipes: tuple[Recipe, ...]
    tokens: int
    batch: int = 2048
    context: int = 128
    bos: bool = False
    skip: int = 1
    buffer: int = 131_072
    warmup: float = 0.05
    decay: float = 0.2
    clip: float = 1.0
    log_every: int | None = None
    evaluate_every: int = 0
    save_every: int = 200_000
    dead_tokens: int | None = None
    seed: int = 0

    @property
    def steps(self) -> int:
        return max(1, self.tokens // self.batch)

    @property
    def sites(self) -> list[Site]:
        """All that is read of the model, in order."""
        return sorted({site for recipe in self.recipes for site in (recipe.site, recipe.target)})

    @property
    def first(self) -> int:
        """The first position of a context that is trained on."""
        return max(self.skip, int(self.bos))

    @property
    def row_every(self) -> int:
        """Steps between two rows of the log: a short run has about a hundred rows too."""
        return max(1, min(10, self.steps // 100)) if self.log_every is None else self.log_every

    @property
    def dead_after(self) -> int:
        """Tokens without firing after which a latent is dead."""
        return min(10_000_000, max(self.batch, self.tokens // 4)) if self.dead_tokens is None else self.dead_tokens

    def checked(self) -> TrainingPlan:
        """The plan. Raises UsageError."""
        if not self.recipes:
            raise UsageError("There is nothing to train.", "Name at least one site.")
        names = [recipe.checked().name for recipe in self.recipes]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise UsageError(f"{twice} is to be trained twice.", "Give each its own site, size, sparsity or seed.")
        for name, least in (
            ("tokens", self.batch), ("batch", 1), ("context", 2), ("buffer", self.batch),
            ("save_every", 1), ("skip", 0), ("evaluate_every", 0),
        ):  # fmt: skip
            if getattr(self, name) < least:
                raise UsageError(f"{name} must be at least {least:,}, and is {getattr(self, name):,}.", "Raise it.")
        if self.log_every is not None and self.log_every < 1:
            raise UsageError(f"log_every must be at least 1, and is {self.log_every}.", "Leave it out for the default.")
        if self.skip >= self.context:
            raise UsageError("Every position of a context would be left out.", "Lower skip, or lengthen the context.")
        if not (0 <= self.warmup <= 1 and 0 <= self.decay <= 1 and self.warmup + self.decay <= 1):
            raise UsageError("Warm-up and decay are shares of the run and together at most 1.", "Such as 0.05 and 0.2.")
        if not self.clip > 0:
            raise UsageError(f"clip must be positive, and is {self.clip}.", "Use 1.")
        return self

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; `of` reads it."""
        return asdict(self) | {"recipes": [recipe.to_dict() for recipe in self.recipes]}

    @classmethod
    def of(cls, given: dict[str, Any]) -> TrainingPlan:
        """The plan that `to_dict` gave."""
        return cls(**{**given, "recipes": tuple(map(Recipe.of, given["recipes"]))})
