"""What is shipped: the wheel and the sdist, built, looked into, installed into a clean environment, and used."""

from __future__ import annotations

import email
import json
import os
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import pytest
import uv

import kyc_client
from tests.support.paths import ROOT

if TYPE_CHECKING:
    from email.message import Message

    from kyc_client.sandbox import Sandbox

PACKAGES = {"kyc_client": ROOT / "wrapper" / "kyc_client", "kyc_openapi": ROOT / "generated" / "kyc_openapi"}
PLUGIN = "pytest_kyc_client.py"
DIST_INFO = f"kyc_client-{kyc_client.__version__}.dist-info"
PATIENCE = 100  # seconds; a registry may be slow


def run(*command: str | Path, cwd: Path, env: dict[str, str] | None = None) -> str:
    """Run a command outside of this process's environment; what it wrote is its result, or the failure's message."""
    environ = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "VIRTUAL_ENV"}}
    done = subprocess.run(  # noqa: S603 - the project's own tools, with arguments from this file
        command,
        cwd=cwd,
        env={**environ, **(env or {})},
        check=False,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def build(source: Path, target: Path, *arguments: str) -> Path:
    """Build what lies in a folder; where pytest was started makes no difference."""
    run(sys.executable, "-m", "hatchling", "build", "--directory", target, *arguments, cwd=source)
    return target


def only(folder: Path, pattern: str) -> Path:
    """The one file of that kind."""
    (path,) = folder.glob(pattern)
    return path


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel and the sdist of this checkout."""
    return build(ROOT, tmp_path_factory.mktemp("dist"))


@pytest.fixture(scope="module")
def wheel(built: Path) -> dict[str, bytes]:
    """The wheel's files."""
    with zipfile.ZipFile(only(built, "*.whl")) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.fixture(scope="module")
def sdist(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sdist, unpacked."""
    folder = tmp_path_factory.mktemp("sdist")
    with tarfile.open(only(built, "*.tar.gz")) as archive:
        archive.extractall(folder, filter="data")
    return only(folder, "*")


@pytest.fixture(scope="module")
def metadata(wheel: dict[str, bytes]) -> Message:
    """The wheel's metadata."""
    return email.message_from_string(wheel[f"{DIST_INFO}/METADATA"].decode())


@attrs.frozen
class Environment:
    """A virtual environment with the wheel and what it depends on, and nothing else."""

    folder: Path

    @property
    def bin(self) -> Path:
        return self.folder / ("Scripts" if os.name == "nt" else "bin")

    def python(self, script: str, env: dict[str, str] | None = None) -> str:
        """Run a script: isolated from this checkout and from the user's packages, warnings being errors."""
        return run(self.bin / "python", "-I", "-W", "error", "-c", script, cwd=self.folder, env=env)


@pytest.fixture(scope="module")
def installed(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """The wheel as pip would install it, with the dependencies that this project's own environment has."""
    folder = tmp_path_factory.mktemp("venv")
    environment = Environment(folder)
    run(uv.find_uv_bin(), "venv", "--quiet", "--clear", "--python", sys.executable, folder, cwd=folder)
    python = environment.bin / "python"
    install: list[str | Path] = [uv.find_uv_bin(), "pip", "install", "--quiet", "--python", python]
    install += ["--constraint", ROOT / "constraints.txt", only(built, "*.whl")]
    try:
        # What is needed has been fetched for the project's own environment, and lies in uv's cache.
        run(*install, "--offline", cwd=folder)
    except AssertionError:
        run(*install, cwd=folder)
    return environment


# The wheel's contents


def test_wheel_holds_both_packages_and_nothing_else(wheel: dict[str, bytes]) -> None:
    """Every file of both packages as in the checkout, `py.typed` included, and the plugin; no test, no tool."""
    expected = {
        f"{name}/{path.relative_to(folder).as_posix()}": path.read_bytes()
        for name, folder in PACKAGES.items()
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    expected[PLUGIN] = (ROOT / "wrapper" / PLUGIN).read_bytes()
    assert {name: content for name, content in wheel.items() if not name.startswith(DIST_INFO)} == expected
    assert {f"{name}/py.typed" for name in PACKAGES} <= expected.keys()


def test_wheel_knows_nothing_of_where_it_was_built(wheel: dict[str, bytes]) -> None:
    """No path of the machine that built it, in no file."""
    assert [name for name, content in wheel.items() if str(ROOT).encode() in content] == []
    assert [name for name in wheel if name.startswith("/") or ".." in name] == []


def test_wheel_carries_the_licence(wheel: dict[str, bytes], metadata: Message) -> None:
    """The text, and what it is called."""
    assert wheel[f"{DIST_INFO}/licenses/LICENSE"] == (ROOT / "LICENSE").read_bytes()
    assert (metadata["License-Expression"], metadata["License-File"]) == ("MIT", "LICENSE")


def test_wheel_is_for_any_platform(built: Path) -> None:
    """Pure Python, under its distribution's name and the version that the package tells."""
    assert only(built, "*.whl").name == f"kyc_client-{kyc_client.__version__}-py3-none-any.whl"
    assert only(built, "*.tar.gz").name == f"kyc_client-{kyc_client.__version__}.tar.gz"


def test_metadata(metadata: Message) -> None:
    """Who we are, and on which Pythons; the README is the description."""
    assert (metadata["Name"], metadata["Version"]) == ("kyc-client", kyc_client.__version__)
    assert metadata["Requires-Python"] == ">=3.11"
    assert metadata["Summary"]
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert metadata.get_payload() == (ROOT / "README.md").read_text()
    assert "Typing :: Typed" in metadata.get_all("Classifier", [])


def test_dependencies_are_two(metadata: Message) -> None:
    """Httpx and attrs; all else belongs to an extra."""
    requirements = metadata.get_all("Requires-Dist", [])
    assert {requirement for requirement in requirements if "extra ==" not in requirement} == {
        "attrs>=23.2",
        "httpx<0.29,>=0.28.1",
    }


def test_extras(metadata: Message) -> None:
    """Each extra that the project declares is there, brings something, and is one that the design knows."""
    extras = set(metadata.get_all("Provides-Extra", []))
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert extras == declared.keys()
    assert {"sandbox"} <= extras <= {"aiohttp", "redis", "sandbox"}
    requirements = metadata.get_all("Requires-Dist", [])
    for extra in extras:
        assert any(f"extra == '{extra}'" in requirement for requirement in requirements)


# The sdist's contents


def test_sdist_holds_what_it_takes_to_build(sdist: Path) -> None:
    """The sources, the spec that they come from, the texts; no test, no tool, no environment."""
    assert {path.name for path in sdist.iterdir()} == {
        ".gitignore",
        "CHANGELOG.md",
        "LICENSE",
        "PKG-INFO",
        "README.md",
        "generated",
        "openapi.yaml",
        "pyproject.toml",
        "wrapper",
    }
    sources = {path.name for folder in ("generated", "wrapper") for path in (sdist / folder).iterdir()}
    assert sources == {*PACKAGES, PLUGIN}


def test_sdist_builds_the_same_wheel(sdist: Path, built: Path, tmp_path: Path) -> None:
    """In another folder, without git and without the checkout: the same file, byte by byte."""
    again = build(sdist, tmp_path, "--target", "wheel")
    assert only(again, "*.whl").read_bytes() == only(built, "*.whl").read_bytes()


# The wheel at work


def test_import_from_the_wheel(installed: Environment) -> None:
    """Both packages come from the environment, all of their modules but the sandbox import, and without a warning."""
    report = json.loads(
        installed.python("""
import importlib, json, pkgutil
import kyc_client, kyc_openapi

names = [
    module.name
    for package in (kyc_client, kyc_openapi)
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + ".")
    if module.name != "kyc_client.sandbox"
]
for name in names:
    importlib.import_module(name)
print(json.dumps({"files": [kyc_client.__file__, kyc_openapi.__file__], "version": kyc_client.__version__}))
""")
    )
    assert all(Path(file).is_relative_to(installed.folder) for file in report["files"])
    assert report["version"] == kyc_client.__version__


def test_folders_of_the_repository_are_not_importable(installed: Environment) -> None:
    """`generated` and `wrapper` are where the sources lie, and not what anybody may import."""
    names = ["generated", "wrapper", "tools", "tests", "conftest"]
    found = installed.python(f"""
from importlib.util import find_spec
print([name for name in {names!r} if find_spec(name)])
""")
    assert found == "[]\n"


def test_wheel_needs_no_extra_for_a_call(installed: Environment, sandbox: Sandbox) -> None:
    """Everything from the environment, sync and async: the wheel and its dependencies are all that a service needs."""
    users = installed.python(
        """
import asyncio
import kyc_client
from kyc_openapi.api.resource import get_resource

with kyc_client.connect() as client:
    print(get_resource.sync(client=client)["user"])

async def main():
    async with kyc_client.connect() as client:
        print((await get_resource.asyncio(client=client))["user"])

asyncio.run(main())
""",
        env=sandbox.environ,
    )
    assert users.splitlines() == [sandbox.active.username] * 2
    assert sandbox.login_count == 2


def test_command_line(installed: Environment, wheel: dict[str, bytes]) -> None:
    """`kyc-client` is installed as a command, which tells what it can do and which version it is."""
    assert "kyc-client = kyc_client.cli:main" in wheel[f"{DIST_INFO}/entry_points.txt"].decode().splitlines()
    command = installed.bin / "kyc-client"
    assert "sandbox" in run(command, "--help", cwd=installed.folder)
    assert run(command, "--version", cwd=installed.folder) == f"kyc-client {kyc_client.__version__}\n"


def test_pytest_plugin_is_declared(wheel: dict[str, bytes]) -> None:
    """Pytest finds the plugin by its entry point."""
    text = wheel[f"{DIST_INFO}/entry_points.txt"].decode()
    assert "[pytest11]\nkyc_client = pytest_kyc_client\n" in text


def test_fake_needs_no_extra(installed: Environment) -> None:
    """The wheel alone has the fake, over a socket and in memory."""
    users = installed.python("""
from kyc_client.testing import FakeKYC
from kyc_openapi.api.resource import get_resource

fake = FakeKYC()
with fake.connect() as client:
    print(get_resource.sync(client=client)["user"])
with fake.serve(), fake.connect() as client:
    print(get_resource.sync(client=client)["user"])
""")
    assert users.splitlines() == ["fake-user@example.com"] * 2


def test_sandbox_without_its_extra_says_what_to_install(installed: Environment) -> None:
    """The wheel alone has the module, which says what it lacks."""
    message = installed.python("""
try:
    import kyc_client.sandbox
except ImportError as error:
    print(error)
""")
    assert "pip install 'kyc-client[sandbox]'" in message
