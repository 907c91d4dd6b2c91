"""docs/testing.md: every block of code is run as it stands, by pytest, as its reader does."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from kyc_client import testing
from tests.support.paths import ROOT

if TYPE_CHECKING:
    import pytest

pytest_plugins = ["pytester"]

PAGE = (ROOT / "docs" / "testing.md").read_text("utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
PATIENCE = 60.0  # seconds, for what takes three
STARLETTE = "-W ignore::starlette.exceptions.StarletteDeprecationWarning"


def test_every_block_runs(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each block is a file, named in its first line; together, a service and tests that pass without warning."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(pytester.path), str(ROOT / "examples")]))
    names = [re.match(r"# (\w+\.py)\n", block)[1] for block in BLOCKS]  # type: ignore[index]  # or it fails here
    assert len(set(names)) == len(names)
    for name, block in zip(names, BLOCKS, strict=True):
        (pytester.path / name).write_text(block, "utf-8")
    assert STARLETTE in PAGE
    result = pytester.runpytest_subprocess(
        "-W", "error", *STARLETTE.split(), "-p", "no:cacheprovider", timeout=PATIENCE
    )
    tests = sum(block.count("def test_") for block in BLOCKS)
    assert tests >= len(BLOCKS) - 2
    result.assert_outcomes(passed=tests)


def test_blocks_of_other_languages_are_known() -> None:
    """What is no Python installs; nothing else is left without being run."""
    others = re.findall(r"^```(?!python\n)\S+\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    assert [block.split()[:2] for block in others] == [["pip", "install"]]


def test_every_row_of_the_table_is_sound(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the table says can be said: each complete call in it runs."""
    monkeypatch.delenv("API_BASE_URL", raising=False)
    calls = re.findall(r"`(fake_kyc\.\w+\([^…`]*\))`", PAGE)
    assert len(calls) >= 10
    for call in calls:
        eval(call, {"fake_kyc": testing.FakeKYC(), "seconds": 1})  # noqa: S307 - our own documentation


def test_what_it_offers_is_on_the_page() -> None:
    """Each public method and attribute of the fake is mentioned."""
    fake = testing.FakeKYC()
    names = {name for name in dir(fake) if not name.startswith("_")}
    assert {name for name in names if not re.search(rf"\b{name}\b", PAGE)} == set()
