"""docs/regenerating.md: its examples work unchanged."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import openapi_spec_validator
import pytest
from ruamel.yaml import YAML

from tests.support.fault_server import FaultServer, answer
from tests.support.paths import ROOT
from tools import generate
from tools.compare import surface
from tools.compare.changes import Change, Impact

if TYPE_CHECKING:
    from pathlib import Path

    import kyc_client

pytestmark = pytest.mark.tools

TEXT = (ROOT / "docs/regenerating.md").read_text("utf-8")
MAKEFILE = (ROOT / "Makefile").read_text("utf-8")
TARGETS = set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))
SECONDS = 60  # for what takes one


def block(language: str) -> str:
    """Return the only block of this language."""
    [found] = re.findall(rf"^```{language}\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)
    return str(found)


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a package that was generated from our document with the paths of the page."""
    folder = tmp_path_factory.mktemp("grown")
    yaml = YAML(typ="safe")
    document, added = yaml.load(ROOT / "openapi.yaml"), yaml.load(block("yaml"))
    document["paths"] |= added["paths"]
    document["components"]["schemas"] |= added["components"]["schemas"]
    openapi_spec_validator.validate(document)
    spec = folder / "openapi.json"
    spec.write_text(json.dumps(document), "utf-8")
    assert generate.main([f"--spec={spec}", f"--out={folder / 'kyc_openapi'}"]) == 0
    return folder


def test_added_operation_works_as_shown(grown: Path, server: FaultServer, credentials: kyc_client.Credentials) -> None:
    """The page's code runs: the new operation logs in, and its model hides the field that the page marks as secret."""
    server.on_resource(answer(200, {"id": "an-id", "status": "new", "document_number": "fake-document-number"}))
    result = subprocess.run(  # noqa: S603 - this interpreter, on the page's own lines
        [sys.executable, "-c", block("python")],
        env=os.environ
        | {
            "PYTHONPATH": str(grown),
            "API_BASE_URL": server.base_url,
            "API_LOGIN": credentials.username,
            "API_PASSWORD": credentials.password,
        },
        capture_output=True,
        encoding="utf-8",
        timeout=SECONDS,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("Applicant(id='an-id', status='new'")
    assert "fake-document-number" not in result.stdout
    assert server.login_count == 1
    assert [hit.target for hit in server.hits] == ["/api/v1/applicants/an-id"]


def test_added_operation_and_model_break_nobody(grown: Path) -> None:
    """`make api-diff` shows one row for each of them, and both are additions."""
    before = surface.load(ROOT / "generated", ROOT / "wrapper")
    assert surface.changes(before, surface.load(grown, ROOT / "wrapper")) == {
        Change(Impact.ADDS, "kyc_openapi.api.applicants", "new module"),
        Change(Impact.ADDS, "kyc_openapi.models.Applicant", "new class"),
    }


def test_targets_are_there() -> None:
    """Every `make` command of the page exists, and the table is right about which ones `make check` runs."""
    named = set(re.findall(r"\bmake ([a-z]+-?[a-z]+)", re.sub(r"make itself|make check has", "", TEXT)))
    assert len(named) > 10
    assert named <= TARGETS
    [check] = re.findall(r"^check: (.*?) ##", MAKEFILE, re.MULTILINE)
    rows = re.findall(r"^\| `make ([a-z-]+).*\| ([^|]*) \|$", TEXT, re.MULTILINE)
    assert {name for name, part in rows if part == "yes"} < set(check.split())
    assert {name for name, part in rows if part != "yes"} & set(check.split()) == set()


def test_targets_have_help() -> None:
    """`make help` lists every target with a sentence."""
    [phony] = re.findall(r"^\.PHONY: (.*)$", MAKEFILE, re.MULTILINE)
    assert set(phony.split()) == TARGETS == set(re.findall(r"^([a-z-]+):.*## \w", MAKEFILE, re.MULTILINE))
