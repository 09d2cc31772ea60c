"""What commands that read a corpus share: the options that name one."""

from __future__ import annotations

from typing import Annotated

import typer

CorpusOption = Annotated[
    str | None,
    typer.Option(
        "--corpus",
        help="A file or folder of text, JSON lines or Parquet, or a Hugging Face dataset.",
        show_default="the text that ships with Python",
    ),
]
ColumnOption = Annotated[
    str | None,
    typer.Option("--column", help="The column or field that holds the text.", show_default="text, or the only one"),
]
CorpusRevisionOption = Annotated[
    str | None, typer.Option("--corpus-revision", help="A branch, tag or commit of a dataset.", show_default="main")
]
SplitOption = Annotated[str | None, typer.Option("--split", help="A dataset's split.", show_default="train")]
ConfigOption = Annotated[str | None, typer.Option("--config", help="A dataset's configuration, where it has several.")]
