"""The text that is on every machine: the documentation of Python and the source of its library."""

from __future__ import annotations

import ast
import hashlib
import importlib
import os
import platform
import re
import sysconfig
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from inspect import cleandoc
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

from .documents import Document, pieces

# Tests and tables are no reading matter; the topics are read from pydoc_data; the rest is not the library's.
_FOLDERS_LEFT_OUT = re.compile(
    r"tests?|idlelib|lib2to3|turtledemo|encodings|pydoc_data|__\w+__|lib-dynload|(site|dist)-packages|config-.*"
)
_FILES_LEFT_OUT = re.compile(r"_sysconfigdata.*|_sysconfig_vars.*|__p?hello__\.py")  # how and where it was built
_SHORT = 80  # characters; a docstring of fewer stays in the source

_Documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class PythonText:
    """The topics of `help()`, the docstrings of the standard library and, without these, its source.

    Prose and code take turns, so that either has had as many characters as the other, until the prose (a fifth of all)
    is used up.
    """

    @property
    def description(self) -> str:
        return f"the documentation and library source of Python {platform.python_version()}"

    @property
    def identity(self) -> dict[str, Any]:
        digest = hashlib.sha256()
        for path in _sources():
            digest.update(f"{path.relative_to(_root()).as_posix()}\0{path.stat().st_size}\n".encode())
        return {"kind": "python", "version": platform.python_version(), "digest": digest.hexdigest()}

    def documents(self, seed: int, skip: int = 0) -> Iterator[Document]:
        prose, code = _topics(), []
        for path in _sources():
            docstrings, source = _taken_apart(path)
            prose += docstrings
            code += source
        random = Random(seed)
        random.shuffle(prose)
        random.shuffle(code)
        return islice(_in_turns(prose, code), skip, None)

    def notes(self) -> list[str]:
        missing = [
            what for what, there in (("topics of help()", _topics()), ("library source", _sources())) if not there
        ]
        return [f"This Python comes without its {' and '.join(missing)}."] if missing else []


def _in_turns(prose: list[Document], code: list[Document]) -> Iterator[Document]:
    prose, code = prose[::-1], code[::-1]
    ahead = 0  # characters of prose beyond those of code
    while prose or code:
        if code and (ahead > 0 or not prose):
            document = code.pop()
            ahead -= len(document.text)
        else:
            document = prose.pop()
            ahead += len(document.text)
        yield document


def _root() -> Path:
    return Path(sysconfig.get_path("stdlib"))


def _sources() -> list[Path]:
    found = []
    for folder, folders, files in os.walk(_root()):
        folders[:] = [name for name in folders if not _FOLDERS_LEFT_OUT.fullmatch(name)]
        found += [Path(folder, name) for name in files if name.endswith(".py") and not _FILES_LEFT_OUT.fullmatch(name)]
    return sorted(found)


def _topics() -> list[Document]:
    try:
        topics: dict[str, str] = importlib.import_module("pydoc_data.topics").topics
    except ImportError:  # some distributions split it off
        return []
    return [
        Document(piece, f"pydoc_data.topics: {name}")
        for name, text in sorted(topics.items())
        for piece in pieces([text])
    ]


def _taken_apart(path: Path) -> tuple[list[Document], list[Document]]:
    """A source file's docstrings, and the pieces of what is left of it.

    A docstring stays where it is short or all that a function or class has.
    """
    name = path.relative_to(_root()).as_posix()
    with tokenize.open(path) as file:
        source = file.read()
    module = name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    docstrings = []
    lines = source.splitlines(keepends=True)
    for qualified, node in _documented(ast.parse(source), module):
        text = ast.get_docstring(node, clean=False)
        if text is None or len(text) < _SHORT or len(node.body) == 1:
            continue
        docstrings += [Document(piece, qualified) for piece in pieces([cleandoc(text)])]
        statement = node.body[0]
        assert statement.end_lineno is not None
        for line in range(statement.lineno - 1, statement.end_lineno):
            lines[line] = ""
    return docstrings, [Document(piece, name) for piece in pieces(lines)]


def _documented(node: ast.AST, name: str) -> Iterator[tuple[str, _Documented]]:
    if isinstance(node, _Documented):
        yield name, node
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield from _documented(child, f"{name}.{child.name}")
        else:
            yield from _documented(child, name)
