"""The autoencoders of a server: those it was given, then the shelf; each opened when it is first asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .. import settings
from ..errors import ClewError, UnknownAutoencoder, UsageError
from ..records import Records
from ..sae import report
from ..sae.records import AutoencoderInfo, Rating, Report
from . import references
from .answers import encode
from .events import event
from .jobs import Stop
from .remembered import Remembered

if TYPE_CHECKING:
    from ..debug import Model
    from ..sae import Autoencoder
    from ..sae.places import Place
    from .schemas.sae import AddRequest, JudgeRequest

_KEPT = 8  # autoencoders of the shelf that stay open


@dataclass(frozen=True)
class ListedAutoencoder(AutoencoderInfo):
    """An autoencoder that a server has. `name` is what it is asked for by: on the shelf its folder's.

    `problem` says why it does not fit the model. The measures are those of its report, None where there is none.
    """

    attached: bool
    fits: bool
    problem: str | None
    l0: float | None
    fvu: float | None
    ce_recovered: float | None


class Attached:
    """Autoencoders by name. `given` are references as `clew.sae.load_all` takes them: all under them are attached.

    `local`: whether the server answers to this machine alone, and may be told paths on it.
    Raises UnknownAutoencoder, BadAutoencoder, WrongAutoencoder, BadSite or Offline for what was given, and UsageError
    for two of one name.
    """

    def __init__(self, model: Model, given: Sequence[str] = (), local: bool = True) -> None:
        from ..sae.formats.saelens import CONFIG
        from ..sae.places import places

        self._model = model
        self._local = local
        self._open = Remembered(CONFIG, lambda folder: self._load(str(folder)), _KEPT)
        self._problems = Remembered(CONFIG, self._problem)
        self._measures = Remembered(report.JSON, _measured)
        self._given: dict[str, tuple[Place, Autoencoder]] = {}
        for place in dict.fromkeys(place for reference in given for place in places(reference)):
            if place.name in self._given:
                other = self._given[place.name][0].reference
                raise UsageError(
                    f"{other} and {place.reference} would both be called {place.name}.", "Rename the folder of one."
                )
            self._given[place.name] = (place, self._load(place.reference))

    @property
    def given(self) -> list[Autoencoder]:
        """What was given, in its order."""
        return [autoencoder for _, autoencoder in self._given.values()]

    def infos(self) -> Records[ListedAutoencoder]:
        """What was given, in its order, then the shelf by name."""
        from ..sae.shelf import info_of, listed

        rows = Records[ListedAutoencoder]()
        for name, (place, autoencoder) in self._given.items():
            rows.append(self._row(name, info_of(autoencoder, place.reference), place.folder, None, attached=True))
        for info in listed():
            if info.reference not in self._given:
                folder = settings.saes_folder() / info.reference
                rows.append(self._row(info.reference, info, folder, self._problems.of(folder), attached=False))
        return rows

    def named(self, names: Sequence[str]) -> tuple[Autoencoder, ...]:
        """The autoencoders of these names, on the model's device.

        Raises UnknownAutoencoder, BadAutoencoder, or WrongAutoencoder and BadSite for one that does not fit the model.
        """
        return tuple(self._opened(name) for name in names)

    def info(self, name: str) -> ListedAutoencoder:
        """Raises UnknownAutoencoder."""
        found = next((row for row in self.infos() if row.name == name), None)
        if found is None:
            raise UnknownAutoencoder(f"There is no autoencoder {name!r} here.", "GET /api/autoencoders names them.")
        return found

    def add(self, asked: AddRequest) -> ListedAutoencoder:
        """Take an autoencoder onto the shelf. Raises Forbidden and what `clew.sae.shelf.add` raises."""
        from ..sae.shelf import add

        reference = references.checked(asked.reference, self._local)
        return self.info(add(reference, asked.name, asked.site, asked.writes).reference)

    def remove(self, name: str) -> None:
        """Delete an autoencoder of the shelf. Raises UnknownAutoencoder, UsageError or Busy."""
        from ..sae.shelf import remove

        if self.info(name).attached:
            raise UsageError(f"{name} was given with --sae.", "Start the server without it, or delete its folder.")
        remove(name)

    def report(self, name: str) -> Report:
        """What an autoencoder was found to be worth. Raises UnknownAutoencoder, also when nobody has judged it."""
        row = self.info(name)
        if not row.judged:
            raise UnknownAutoencoder(
                f"Nobody has judged {name} yet.", f"Judge it on the page, or with clew sae eval {row.reference}."
            )
        return report.read_report(self._folder(row))

    def rate(self, name: str, index: int, rating: Rating | None) -> None:
        """Keep what a person thinks of a latent. Raises UnknownAutoencoder, UsageError or NoSpace."""
        from ..sae.ratings import rate

        row = self.info(name)
        if index >= row.latents:
            raise UsageError(f"{name} has no latent {index:,}.", f"Its latents are 0 to {row.latents - 1:,}.")
        rate(self._folder(row), index, rating)

    def judge(self, name: str, asked: JudgeRequest, stop: Stop) -> Iterator[bytes]:
        """The events of judging; its report is kept. Raises what `clew.sae.evaluate.evaluating` raises."""
        from ..corpus.texts import corpus_of
        from ..sae.evaluate import evaluating

        row = self.info(name)
        folder = self._folder(row)
        text = corpus_of(None if asked.corpus is None else references.checked(asked.corpus, self._local))
        for progress in evaluating(
            self._model, self._opened(name), text, tokens=asked.tokens, seed=asked.seed, samples=asked.samples,
            reference=row.reference, folder=folder, stop=stop,
        ):  # fmt: skip
            if progress.report is None:
                yield event("progress", encode(progress.to_dict()))
            else:
                report.write_report(folder, progress.report)
                yield event("done", encode(progress.report.to_dict()))

    def _row(
        self, name: str, info: AutoencoderInfo, folder: Path | None, problem: str | None, attached: bool
    ) -> ListedAutoencoder:
        judged = folder is not None and (folder / report.JSON).is_file()
        l0, fvu, ce_recovered = self._measures.of(folder) if folder is not None and judged else (None, None, None)
        said = {**vars(info), "name": name, "judged": judged}
        return ListedAutoencoder(
            **said, attached=attached, fits=problem is None, problem=problem, l0=l0, fvu=fvu, ce_recovered=ce_recovered
        )

    def _folder(self, row: ListedAutoencoder) -> Path:
        """Where an autoencoder's report and ratings lie. Raises UsageError for one that has no folder of its own."""
        folder = self._given[row.name][0].folder if row.attached else settings.saes_folder() / row.name
        if folder is None:
            raise UsageError(
                f"{row.name} has no folder here to keep a report in.",
                f"Take it onto the shelf: clew sae add {row.reference}",
            )
        return folder

    def _opened(self, name: str) -> Autoencoder:
        from ..sae.formats.finding import shelved

        if name in self._given:
            return self._given[name][1]
        return self._open.of(shelved(name))

    def _load(self, reference: str) -> Autoencoder:
        from ..sae import load
        from ..sae.autoencoder import check_fits

        subject = self._model.subject
        autoencoder = load(reference)
        check_fits(autoencoder, subject.anatomy, subject.name)
        return autoencoder.to(subject.device)

    def _problem(self, folder: Path) -> str | None:
        """Why the autoencoder in a folder cannot be used with the model."""
        try:
            self._load(str(folder))
        except ClewError as error:
            return str(error)
        return None


def _measured(folder: Path) -> tuple[float | None, float | None, float | None]:
    """L0, FVU and CE recovered by the report in a folder; None each where it cannot be read."""
    try:
        found = report.read_report(folder)
    except ClewError:  # who asks for the report is told what ails it
        return None, None, None
    return found.l0, found.fvu, found.ce_recovered
