"""What the files for contributors say is so."""

from __future__ import annotations

import re
import tomllib
from typing import TYPE_CHECKING, Any

import pytest
from ruamel.yaml import YAML

from tests.support.paths import ROOT

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.tools

WORKFLOW: dict[str, Any] = YAML(typ="safe").load(ROOT / ".github" / "workflows" / "check.yml")
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_make_targets_exist(page: Path) -> None:
    """Each `make …` in the text can be typed."""
    named = re.findall(r"`make ([a-z-]+)", page.read_text("utf-8"))
    assert set(named) <= TARGETS


def test_contributing_is_ten_lines_with_files_that_exist() -> None:
    """It is short enough to be read, and what it names is there."""
    text = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    assert re.findall(r"^(\d+)\. .{,118}$", text, re.MULTILINE) == [str(number) for number in range(1, 11)]
    for name in re.findall(r"[\w/]+\.(?:py|md|yaml)", text):
        assert (ROOT / name).exists(), name


def test_workflow_checks_every_supported_python() -> None:
    """It runs `make check` on the versions that the package says it supports, and nothing that is not pinned."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    supported = re.findall(r"Python :: (3\.\d+)", "\n".join(project["classifiers"]))
    job = WORKFLOW["jobs"]["check"]
    assert job["strategy"]["matrix"]["python"] == supported
    assert job["steps"][-1] == {"run": "make check"}
    used = [step["uses"] for step in job["steps"] if "uses" in step]
    assert len(used) == 3
    for action in used:
        assert re.fullmatch(r"actions/[a-z-]+@v\d+\.\d+\.\d+", action)


def test_badges_say_what_is_so() -> None:
    """They are files of ours, asked of no other host, and what they say is what the project's settings say."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    supported = re.findall(r"Python :: (3\.\d+)", "\n".join(settings["project"]["classifiers"]))
    assert settings["tool"]["mypy"]["strict"]
    assert settings["tool"]["pyright"]["typeCheckingMode"] == "strict"
    said = {
        "python": f"python: {supported[0]} to {supported[-1]}",
        "types": "types: mypy and pyright, strict",
        "coverage": f"coverage: {settings['tool']['coverage']['report']['fail_under']} %",
        "licence": f"licence: {settings['project']['license']}",
    }
    shown = re.findall(r"\(docs/assets/badge-(\w+)\.svg\)", (ROOT / "README.md").read_text("utf-8"))
    assert sorted(shown) == sorted(said)
    for name, text in said.items():
        picture = (ROOT / "docs" / "assets" / f"badge-{name}.svg").read_text("utf-8")
        assert f"<title>{text}</title>" in picture
        assert re.findall(r"https?://[^\"]+", picture) == ["http://www.w3.org/2000/svg"]
