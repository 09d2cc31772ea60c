"""Where an autoencoder belongs: what its files say, and what the one who loads it says."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ...errors import BadAutoencoder, BadSite, WrongAutoencoder
from ...nodes import SITES, Site
from .names import site_of, sites_of


@dataclass(frozen=True)
class Said:
    """What an autoencoder's files say of its place. `unplaced` is why they name no site, where they do not."""

    reads: Site | None = None
    writes: Site | None = None
    model: str | None = None
    transcoder: bool = False
    unplaced: str = "Its files do not say which site it reads."

    @classmethod
    def of_hooks(cls, hook: str, out: str | None, model: str | None, transcoder: bool) -> Said:
        """By the names of hooks; `out` is that of a transcoder's output."""
        reads, problem = _site(hook, model)
        if not transcoder:
            return cls(reads, reads, model, False, problem)
        writes, other = (None, "Its files do not say which site.") if out is None else _site(out, model)
        return cls(reads, writes, model, True, problem or other)

    @classmethod
    def of_module(cls, path: str, transcoder: bool, model: str | None) -> Said:
        """By the path of a module: an autoencoder reads its output, a transcoder its input."""
        if not transcoder:
            return cls.of_hooks(path, None, model, False)
        try:
            return cls(*sites_of(path, model), model, True)
        except BadSite as error:
            return cls(model=model, transcoder=True, unplaced=error.message)


@dataclass(frozen=True)
class Asked:
    """What the one who loads an autoencoder says: it supplies what files do not say, and may not contradict them."""

    site: Site | None = None
    writes: Site | None = None
    model: str | None = None

    def places(self, said: Said, path: Path) -> tuple[Site, Site]:
        """The sites read and written.

        Raises WrongAutoencoder when the files say others, and BadAutoencoder when nobody says any.
        """
        for verb, asked, told in (("reads", self.site, said.reads), ("writes", self.writes, said.writes)):
            if asked is not None and told is not None and asked != told:
                raise WrongAutoencoder(
                    f"{path} {verb} {told}, not {asked}.", "Leave the site out, or load one that was trained on it."
                )
        reads = self.site or said.reads
        if reads is None:
            raise BadAutoencoder(f"{path} has no place: {said.unplaced}", "Name the site it reads, such as mlp_out.10.")
        writes = self.writes or said.writes or (None if said.transcoder else reads)
        if writes is None:
            raise BadAutoencoder(
                f"{path} is a transcoder, and has no place to write: {said.unplaced}", "Name the site it writes."
            )
        if writes != reads and not said.transcoder:
            raise WrongAutoencoder(
                f"{path} is no transcoder: it cannot read {reads} and write {writes}.", "Leave the site it writes out."
            )
        if writes.name not in SITES:
            raise BadAutoencoder(
                f"{path} writes {writes}, which is read only.", f"Only transcoders read it, and write {SITES[1]}."
            )
        return reads, writes

    @property
    def words(self) -> str:
        """The sites asked for, in a sentence's words."""
        asked = (("reads", self.site), ("writes", self.writes))
        return " and ".join(f"{verb} {site}" for verb, site in asked if site is not None)

    def fits(self, said: Said) -> bool:
        """Whether what is asked for agrees with what files say, as far as they say anything."""
        pairs = ((self.site, said.reads), (self.writes, said.writes))
        return all(asked is None or told is None or asked == told for asked, told in pairs)


def _site(hook: str, model: str | None) -> tuple[Site | None, str]:
    try:
        return site_of(hook, model), ""
    except BadSite as error:
        return None, error.message
