"""Every block of code in the README and in docs/ is run, or else checked for all that can be checked.

Python blocks run against the sandbox, as they stand, a page's blocks one after the other in one namespace. A block for
the shell is not run as a whole: each of its commands is known here, with what makes it right. A block that can be
neither says why, in a comment above it, `<!-- not run: reason -->`, which no reader sees.
"""

from __future__ import annotations

import ast
import asyncio
import inspect
import json
import logging
import re
import shlex
import subprocess
import sys
import textwrap
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from ruamel.yaml import YAML

from tests.support.paths import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from kyc_client.sandbox import Sandbox

PAGES = [
    path.relative_to(ROOT).as_posix()
    for path in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md")))
]
# Pages whose blocks are run by a test of their own, since they belong together in another way.
ELSEWHERE = {"docs/regenerating.md": "spec/test_regenerating.py", "docs/testing.md": "people/test_testing_docs.py"}
BLOCK = re.compile(
    r"(?:<!-- not run: (?P<reason>[^>]+) -->\n\s*)?"
    r"^(?P<indent> *)```(?P<language>\S+)[^\n]*\n(?P<code>.*?)^(?P=indent)```",
    re.DOTALL | re.MULTILINE,
)
# An excerpt of an example, which is run by its own test.
EXCERPT = re.compile(r'--8<-- "(examples/\w+\.py)(?::(\w+))?"\n')
MAX_NOT_RUN = 3
PATIENCE = 60.0  # seconds, for what takes one


class Block(NamedTuple):
    """A block of code, and where it is."""

    page: str
    line: int
    language: str
    code: str
    reason: str | None


def blocks(page: str) -> Iterator[Block]:
    """The blocks of a page, in its order."""
    text = (ROOT / page).read_text("utf-8")
    for match in BLOCK.finditer(text):
        line = text.count("\n", 0, match.start("code")) + 1
        yield Block(page, line, match["language"], textwrap.dedent(match["code"]), match["reason"])


ALL = [block for page in PAGES if page not in ELSEWHERE for block in blocks(page)]
TO_CHECK = [block for block in ALL if block.reason is None]


def of_language(*languages: str) -> list[Any]:
    """The blocks in these languages, as the parameters of a test."""
    return [pytest.param(block, id=f"{block.page}:{block.line}") for block in TO_CHECK if block.language in languages]


@pytest.mark.parametrize("page", sorted({block.page for block in TO_CHECK if block.language == "python"}))
def test_python_blocks_run(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, page: str) -> None:
    """With the environment of the sandbox, a page's blocks run as they stand, and no call of theirs fails."""
    for name, value in sandbox.environ.items():
        monkeypatch.setenv(name, value)
    # What a block sets for the process.
    monkeypatch.setattr(logging.getLogger("kyc_client"), "level", logging.NOTSET)
    monkeypatch.setattr(logging.getLogger(), "level", logging.WARNING)
    monkeypatch.setattr(logging.getLogger(), "handlers", list(logging.getLogger().handlers))
    namespace: dict[str, Any] = {"__name__": "block"}
    for block in TO_CHECK:
        if block.page == page and block.language == "python" and not EXCERPT.fullmatch(block.code):
            run(block, namespace)
    assert {record.status for record in sandbox.requests} <= {200}


def run(block: Block, namespace: dict[str, Any]) -> None:
    """Run one block; `await` may stand at its top level."""
    # Its own line numbers are those of the page.
    source = "\n" * (block.line - 1) + block.code
    code = compile(source, block.page, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    result = eval(code, namespace)  # noqa: S307 - our own documentation
    if inspect.iscoroutine(result):
        asyncio.run(result)


@pytest.mark.parametrize(
    "block", [block for block in TO_CHECK if "--8<--" in block.code], ids=lambda block: block.code.strip()
)
def test_excerpts_are_of_examples_that_are_tested(block: Block) -> None:
    """What is shown of an example is there, and the example is run by a test."""
    match = EXCERPT.fullmatch(block.code)
    assert match is not None, "an excerpt stands alone"
    path, section = match.groups()
    source = (ROOT / path).read_text("utf-8")
    for mark in ("start", "end") if section else ():
        assert f"--8<-- [{mark}:{section}]" in source
    name = Path(path).stem
    tests = "".join(test.read_text("utf-8") for test in (ROOT / "tests").rglob("test_examples*.py"))
    assert re.search(rf'(run|loaded)\("{name}"|\b{name}:app', tests)


@pytest.mark.parametrize("block", of_language("sh", "shell", "console", "bash"))
def test_shell_blocks_are_right(block: Block) -> None:
    """Every command is one that is known here, and right: its target, its options, its files are there."""
    for line in block.code.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        if words:
            assert words[0] in COMMANDS, f"{line}: teach this test the command, or say why it cannot be checked"
            COMMANDS[words[0]](words[1:])


def check_make(words: list[str]) -> None:
    """The target exists."""
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    named = {word for word in words if "=" not in word}
    assert named
    assert named <= targets


def check_pip(words: list[str]) -> None:
    """It installs this checkout, with extras that exist, and names that are development tools here."""
    assert words[0] == "install"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    tools = {re.split(r"[=\[]", tool)[0] for group in project["dependency-groups"].values() for tool in group}
    for word in words[1:]:
        place, _, extras = word.rstrip("]").partition("[")
        assert place in {".", *tools}, word
        assert set(filter(None, extras.split(","))) <= set(project["project"]["optional-dependencies"])


def check_export(words: list[str]) -> None:
    """The variables are those that are read."""
    for word in words:
        name = word.partition("=")[0]
        assert name in {"API_BASE_URL", "API_LOGIN", "API_PASSWORD", "API_LOGIN_FILE", "API_PASSWORD_FILE"}


def check_kyc_client(words: list[str]) -> None:
    """The command exists, and so do its options."""
    program = Path(sys.executable).with_name("kyc-client")
    command = [word for word in words[:1] if not word.startswith("-")]
    told = subprocess.run(  # noqa: S603 - our own program
        [program, *command, "--help"], capture_output=True, text=True, timeout=PATIENCE, check=True
    ).stdout
    for option in words:
        if option.startswith("-"):
            assert re.search(rf"(?<![\w-]){re.escape(option.partition('=')[0])}\b", told), option


def check_files(words: list[str]) -> None:
    """The files of ours that are named exist."""
    for word in words:
        if word.endswith(".py"):
            assert (ROOT / word).is_file(), word


def check_curl(words: list[str]) -> None:
    """It goes to the API, or to this machine."""
    addresses = [word for word in words if "://" in word or "$" in word]
    assert addresses
    for address in addresses:
        assert re.match(r"\$API_BASE_URL/|http://127\.0\.0\.1|Authorization: Bearer \$\(kyc-client token\)$", address)


COMMANDS: dict[str, Callable[[list[str]], None]] = {
    "curl": check_curl,
    "export": check_export,
    "kyc-client": check_kyc_client,
    "make": check_make,
    "pip": check_pip,
    "python": check_files,
}


@pytest.mark.parametrize("block", of_language("json", "toml", "yaml"))
def test_data_blocks_can_be_read(block: Block) -> None:
    """They are what they say they are."""
    read: dict[str, Callable[[str], object]] = {
        "json": json.loads,
        "toml": tomllib.loads,
        "yaml": YAML(typ="safe").load,
    }
    assert read[block.language](block.code)


def test_no_block_is_left_out() -> None:
    """Each block is of a language that is run or checked here, and few say why they cannot be."""
    known = {"python", "sh", "shell", "console", "bash", "json", "toml", "yaml"}
    # A request as it goes over the wire, and what a program prints.
    shown = {"http", "text"}
    assert {block.language for block in TO_CHECK} <= known | shown
    assert len(ALL) - len(TO_CHECK) <= MAX_NOT_RUN
    assert len(ALL) >= 20


@pytest.mark.parametrize(("page", "test"), ELSEWHERE.items())
def test_pages_that_are_run_elsewhere(page: str, test: str) -> None:
    """They are: there is a test that reads them."""
    assert page in PAGES
    assert Path(page).name in (ROOT / "tests" / test).read_text("utf-8")


@pytest.mark.parametrize(
    ("command", "error"),
    [
        ("make gone", AssertionError),
        ("pip install '.[gone]'", AssertionError),
        ("pip install unknown-package", AssertionError),
        ("export GONE=1", AssertionError),
        ("kyc-client sandbox --gone", AssertionError),
        ("kyc-client gone", subprocess.CalledProcessError),
        ("python examples/gone.py", AssertionError),
        ("curl https://elsewhere.example.com", AssertionError),
        ("rm -rf /", AssertionError),
    ],
)
def test_wrong_commands_are_seen(command: str, error: type[Exception]) -> None:
    """The check of blocks for the shell can fail."""
    with pytest.raises(error):
        test_shell_blocks_are_right(Block("page", 1, "sh", command, None))
