"""What is shipped: the sdist and wheel with the page inside, the lock, and the first lines a newcomer reads."""

from __future__ import annotations

import ast
import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import urllib.request
import venv
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from .tiny import tiny_model_folder

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
CUDA = ("nvidia-", "cuda-", "triton")  # what PyTorch's CUDA build, where it is installed, pins itself
PAGE = "clew/_static/index.html"
BUILT_OR_PRIVATE = (".git", ".venv", "node_modules", "_static", "dist", "__pycache__", ".*_cache", ".hypothesis")


def run(command: Sequence[str | Path], folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=folder, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )


def build(target: str, tree: Path, out: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return run(
        [sys.executable, "-m", "hatchling", "build", "--target", target, "--directory", out], tree, **environment
    )


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tree as a fresh clone has it: no page, no packages."""
    tree = tmp_path_factory.mktemp("checkout") / "clew"
    return shutil.copytree(ROOT, tree, ignore=shutil.ignore_patterns(*BUILT_OR_PRIVATE))


@pytest.fixture(scope="module")
def sdist(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("sdist")
    done = build("sdist", checkout, out)
    assert done.returncode == 0, done.stderr
    return next(out.glob("*.tar.gz"))


@pytest.fixture(scope="module")
def unpacked(sdist: Path) -> Path:
    with tarfile.open(sdist) as archive:
        archive.extractall(sdist.parent, filter="data")
    return sdist.parent / sdist.name.removesuffix(".tar.gz")


@pytest.fixture(scope="module")
def wheel(unpacked: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from the sdist on a machine without Node: the page comes along."""
    out = tmp_path_factory.mktemp("wheel")
    done = build("wheel", unpacked, out, PATH="")
    assert done.returncode == 0, done.stderr
    return next(out.glob("*.whl"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `clew` of an empty environment that holds the wheel, and sees its dependencies where they already are."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False, symlinks=True)
    python = folder / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-index", "--no-deps", wheel]
    done = run(pip, folder)
    assert done.returncode == 0, done.stderr
    site = next(folder.glob("lib/python*/site-packages"))
    (site / "dependencies.pth").write_text(f"{site_packages()}\n")
    return folder / "bin" / "clew"


def site_packages() -> Path:
    """Where this environment keeps what it installs."""
    return Path(str(importlib.metadata.distribution("torch").locate_file("")))


def names(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_the_wheel_carries_the_page_and_what_it_asks_for(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        assert PAGE in archive.namelist()
        page = archive.read(PAGE).decode()
        asked = re.findall(r'(?:src|href)="\.?/([^"]+)"', page)
        assert any(name.endswith(".js") for name in asked), page
        for name in asked:
            assert f"clew/_static/{name}" in archive.namelist()


def test_the_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    assert {name.split("/")[0] for name in names(wheel)} == {"clew", f"clew-{PROJECT['version']}.dist-info"}
    sources = {str(path.relative_to(ROOT / "src")) for path in (ROOT / "src").rglob("*.py")}
    assert sources <= names(wheel)


def test_a_wheel_from_the_checkout_is_the_one_from_the_sdist(checkout: Path, wheel: Path, tmp_path: Path) -> None:
    done = build("wheel", checkout, tmp_path)
    assert done.returncode == 0, done.stderr
    assert names(next(tmp_path.glob("*.whl"))) == names(wheel)


def test_without_node_a_checkout_says_what_to_install(checkout: Path, tmp_path: Path) -> None:
    done = build("wheel", checkout, tmp_path, PATH="")
    assert done.returncode != 0
    assert "needs Node 20.19" in done.stderr
    assert not list(tmp_path.glob("*.whl"))


def test_the_installed_command_says_its_version(installed: Path, tmp_path: Path) -> None:
    done = run([installed, "--version"], tmp_path)
    assert (done.stdout, done.returncode) == (f"clew {PROJECT['version']}\n", 0), done.stderr


def test_the_installed_server_serves_its_own_page(installed: Path, tmp_path: Path) -> None:
    model = tiny_model_folder(tmp_path / "model")
    command = [installed, "serve", "--model", model, "--port", "0", "--no-open", "--json"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            assert server.stderr is not None
            said = server.stdout.readline()
            assert said, server.stderr.read()
            with urllib.request.urlopen(json.loads(said)["url"]) as reply:
                page = reply.read()
        finally:
            server.terminate()
            server.communicate(timeout=30)
    assert page == (installed.parents[1] / "lib").rglob(PAGE).__next__().read_bytes()


def locked() -> dict[str, str]:
    lines = (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()
    pins = [re.fullmatch(r"([A-Za-z0-9._-]+)==([A-Za-z0-9.]+)", line) for line in lines if not line.startswith("#")]
    assert all(pins), "every line of requirements.lock is NAME==VERSION"
    return {canonicalize_name(pin[1]): pin[2] for pin in pins if pin}


def requirements(*extras: str) -> Iterator[Requirement]:
    lists = [PROJECT["dependencies"], *(PROJECT["optional-dependencies"][extra] for extra in extras)]
    return (Requirement(line) for requirement in lists for line in requirement)


def test_the_lock_pins_all_that_is_asked_for() -> None:
    pins = locked()
    for requirement in requirements("dev"):
        assert requirement.specifier.contains(pins[canonicalize_name(requirement.name)]), requirement


def test_the_lock_pins_what_that_needs_in_turn_and_no_more() -> None:
    pins = locked()
    needed: set[str] = set()
    left = list(requirements("dev"))
    while left:
        requirement = left.pop()
        name = canonicalize_name(requirement.name)
        if name in needed or (name not in pins and name.startswith(CUDA)):
            continue
        needed.add(name)
        assert importlib.metadata.version(name).partition("+")[0] == pins.get(name), f"{name} is not as the lock says"
        wants = [Requirement(line) for line in importlib.metadata.requires(name) or []]
        extras = requirement.extras or {""}
        left += [want for want in wants if not want.marker or any(want.marker.evaluate({"extra": e}) for e in extras)]
    assert needed == set(pins)


def test_every_import_is_a_declared_dependency() -> None:
    extras = ("datasets", "pandas", "postgres", "ray", "tensorboard", "wandb")
    declared = {canonicalize_name(requirement.name) for requirement in requirements(*extras)}
    homes = importlib.metadata.packages_distributions()
    for path in (ROOT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            imported = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                imported = [node.module]
            for name in {name.split(".")[0] for name in imported} - sys.stdlib_module_names - {"clew"}:
                assert declared & {canonicalize_name(home) for home in homes[name]}, f"{path} imports {name}"


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md"])
def test_links_lead_somewhere(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    for link in re.findall(r"\]\((?!https?:|#)([^)#]+)", text):
        assert (ROOT / link).exists(), f"{name} links to {link}"


def test_the_changelog_knows_this_version() -> None:
    assert f"## {PROJECT['version']}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_help_lists_the_commands_a_newcomer_needs() -> None:
    done = run(["make"], ROOT)
    assert set(re.findall(r"make (\w+)", done.stdout)) >= {"run", "test", "check", "bench", "dev", "help"}


def test_setting_up_says_which_python_is_needed() -> None:
    done = run(["make", "--always-make", "setup", "PYTHON="], ROOT)
    assert done.returncode != 0
    assert "Clew needs Python 3.11 or newer" in done.stderr


def test_setting_up_says_which_node_is_needed(tmp_path: Path) -> None:
    (tmp_path / "node").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "node").chmod(0o755)
    done = run(["make", "--always-make", "packages"], ROOT, PATH=f"{tmp_path}:{os.environ['PATH']}")
    assert done.returncode != 0
    assert "needs Node 20.19" in done.stderr


def test_a_chromium_that_is_not_one_is_refused(tmp_path: Path) -> None:
    done = run([ROOT / "scripts" / "find_chromium.sh", sys.executable], ROOT, CLEW_CHROMIUM=str(tmp_path / "none"))
    assert done.returncode == 1
    assert "is not a program that starts" in done.stderr
