"""The README's own lines, run as they stand."""

from __future__ import annotations

import ast
import asyncio
import inspect
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import kyc_client
from kyc_client.cli._exit import Exit
from tests.support.paths import ROOT

if TYPE_CHECKING:
    from kyc_client.sandbox import Sandbox

README = (ROOT / "README.md").read_text("utf-8")
SNIPPETS = re.findall(r"^```python\n(.*?)^```", README, re.DOTALL | re.MULTILINE)


def test_the_three_ways_to_use_it_are_there() -> None:
    """Sync, async, and as an ordinary httpx.Auth."""
    assert len(SNIPPETS) == 3
    needles = ("with kyc_client.connect()", "async with", "kyc_client.LoginAuth(url)")
    for needle, snippet in zip(needles, SNIPPETS, strict=True):
        assert needle in snippet


@pytest.mark.parametrize("snippet", SNIPPETS, ids=["sync", "async", "httpx.Auth"])
def test_snippet_runs_as_it_stands(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], snippet: str
) -> None:
    """With the environment of the sandbox, each snippet logs in once, makes its call and prints the answer."""
    for name, value in sandbox.environ.items():
        monkeypatch.setenv(name, value)
    code = compile(snippet, "README.md", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    namespace = {"url": sandbox.base_url}
    result = eval(code, namespace)  # noqa: S307 - our own README
    if inspect.iscoroutine(result):
        asyncio.run(_await(result))
    assert sandbox.active.username in capsys.readouterr().out
    assert sandbox.login_count == 1


async def _await(result: object) -> None:
    await result  # type: ignore[misc]  # a module with `await` at its top level is a coroutine


def test_table_of_errors_names_every_error() -> None:
    """Whoever meets an error finds it, and what to do, in the README."""
    table = README[README.index("## What happens when") :]
    bases = {"KYCClientError", "LoginError"}
    for name in set(kyc_client.errors.__all__) - bases:
        assert f"| `{name}`" in table


def test_table_of_exit_statuses_is_the_programs() -> None:
    """Whoever writes a script finds in the README what `--help` says, no more and no less."""
    table = README[README.index("| exit status | meaning |") :].partition("\n\n")[0]
    rows = [tuple(re.split(r" (?<!\\)\| ", line.strip("| "))) for line in table.splitlines()[2:]]
    assert rows == [(str(int(status)), status.meaning.replace("|", "\\|")) for status in Exit]


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed here")
def test_lines_for_the_shell(sandbox: Sandbox) -> None:
    """They run as they stand: `check` is content, and both calls get the answer."""
    (lines,) = re.findall(r"^## From the shell\n\n```sh\n(.*?)^```", README, re.DOTALL | re.MULTILINE)
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(  # noqa: S603 - our own README
        ["/bin/sh", "-e", "-c", lines],
        env={**os.environ, **sandbox.environ, "PATH": path},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.count('"You are logged in."') == 2
    assert sandbox.login_count == 3


def test_make_help_is_where_the_readme_says() -> None:
    """The targets that the README names exist."""
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    named = set(re.findall(r"^make ([a-z-]+)|`make ([a-z-]+)`", README, re.MULTILINE))
    assert named
    assert {name for pair in named for name in pair if name} <= targets
