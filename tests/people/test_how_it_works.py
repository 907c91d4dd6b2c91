"""docs/how-it-works.md quotes the rules of the core, and its map of the house is whole."""

from __future__ import annotations

import inspect
import re

import pytest

from kyc_client._token import policy
from kyc_client._token.flight import Flight
from kyc_client._token.source import TokenSource
from tests.support.paths import ROOT

PAGE = (ROOT / "docs" / "how-it-works.md").read_text("utf-8")
PACKAGE = ROOT / "wrapper" / "kyc_client"


@pytest.mark.parametrize("owner", [TokenSource, Flight])
def test_rules_are_quoted(owner: type[object]) -> None:
    """The page has the numbered rules above a class, word for word."""
    rules = re.findall(r"^\d+\. .*?(?=^\d+\. |^$)", inspect.getdoc(owner) or "", re.DOTALL | re.MULTILINE)
    assert len(rules) >= 3
    words = " ".join(PAGE.split())
    for rule in rules:
        assert " ".join(rule.split()) in words


def test_policy_is_quoted() -> None:
    """The page has the policy's list of cases, line by line."""
    _, _, cases = (policy.__doc__ or "").partition("\n\n")
    assert cases
    assert cases.strip() in PAGE


def test_each_module_of_the_core_is_on_the_map() -> None:
    """Each module has a line, or a place in one."""
    modules = [path for folder in ("", "_token", "_login") for path in (PACKAGE / folder).glob("*.py")]
    names = {path.name for path in modules} - {"__init__.py", "__main__.py", "_version.py"}
    assert len(names) > 20
    assert {name for name in names if not re.search(rf"(?m)^    .*\b{name}\b", PAGE)} == set()
