"""The log of a training: rows of numbers in two Parquet files, which others may read while it grows.

`log-tail.parquet` holds the rows since the last checkpoint and is written anew, whole, at every flush;
`log.parquet` those up to it. A training that goes on from its checkpoint forgets the rows after it and makes them anew.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ..disk import written
from ..errors import BadCheckpoint
from ..records import Records
from .records import Histogram, TrainPoint

LOG, TAIL = "log.parquet", "log-tail.parquet"

_HISTOGRAM = pa.struct(
    [("edges", pa.list_(pa.float64())), ("counts", pa.list_(pa.int64())), ("below", pa.int64())],
)
_TYPES = {"str": pa.string(), "int": pa.int64(), "Histogram": _HISTOGRAM}
_SCHEMA = pa.schema(
    [(name, _TYPES.get(str(kind), pa.float64())) for name, kind in TrainPoint.__annotations__.items()],
)


class Log:
    """The writing end; one training at a time has it."""

    def __init__(self, folder: Path) -> None:
        self._log, self._tail = folder / LOG, folder / TAIL
        self._rows: list[dict[str, Any]] = []
        self._flushed = 0

    def resume(self, step: int) -> None:
        """Keep the rows up to `step`: what a checkpoint there knows of."""
        kept = _rows(self._log.parent, None)
        kept = kept.filter(pc.field("step") <= step)
        self._tail.unlink(missing_ok=True)
        if len(kept):
            _write(self._log, kept)
        else:
            self._log.unlink(missing_ok=True)

    def add(self, point: TrainPoint) -> None:
        self._rows.append(point.to_dict())

    def flush(self) -> None:
        """Have all rows on disk. Raises NoSpace."""
        if len(self._rows) > self._flushed:
            _write(self._tail, pa.Table.from_pylist(self._rows, _SCHEMA))
            self._flushed = len(self._rows)

    def merge(self) -> None:
        """Have the rows in `log.parquet`: they are of the past now. Raises NoSpace."""
        self.flush()
        if self._rows:
            _write(self._log, _rows(self._log.parent, None))
            self._tail.unlink(missing_ok=True)
            self._rows, self._flushed = [], 0


def read_log(folder: Path, after_step: int | None = None) -> Records[TrainPoint]:
    """The rows of a training's log by step, those after a step only if one is given; none when nothing is logged yet.

    Raises BadCheckpoint when a file of it is damaged.
    """
    return Records(
        TrainPoint(**{**row, "density": Histogram(**row["density"])}) for row in _rows(folder, after_step).to_pylist()
    )


def _rows(folder: Path, after_step: int | None) -> pa.Table:
    """All rows by step, each once."""
    # The tail first: what moves into the log meanwhile is then there twice, and not missing.
    tail, log = (_read(folder / name, after_step) for name in (TAIL, LOG))
    if len(log):
        tail = tail.filter(pc.field("step") > log["step"].to_numpy().max())
    return pa.concat_tables([log, tail])


def _read(path: Path, after_step: int | None) -> pa.Table:
    filters = None if after_step is None else pc.field("step") > after_step
    try:
        with path.open("rb") as file:
            return pq.read_table(file, filters=filters, use_threads=False).cast(_SCHEMA)
    except FileNotFoundError:
        return _SCHEMA.empty_table()
    except (pa.ArrowException, OSError, ValueError) as error:
        raise BadCheckpoint(f"The log {path} cannot be read.", "Train again with --replace.") from error


def _write(path: Path, rows: pa.Table) -> None:
    with written(path) as partial:
        pq.write_table(rows, partial, compression="zstd")
