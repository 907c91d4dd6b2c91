"""openapi.yaml describes exactly what the server does: schemathesis sends requests, and our sandbox answers."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from ruamel.yaml import YAML

from kyc_client import Credentials, LoginAuth
from kyc_client.sandbox import LOGIN_PATH, RESOURCE_PATH, Sandbox
from tests.support.paths import OPENAPI as SPEC

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.tools

DOCUMENT = YAML(typ="safe").load(SPEC)
CONFIG = Path(__file__).with_name("schemathesis.toml")
SECONDS = 100  # for what takes three
DOCUMENTED = {
    (method.upper(), path): {int(status) for status in operation["responses"]}
    for path, operations in DOCUMENT["paths"].items()
    for method, operation in operations.items()
}
MISTAKES = [
    ('"422":\n', '"423":\n'),
    ("access_token:\n          type: string", "access_token:\n          type: integer"),
    (
        'application/json:\n              schema:\n                $ref: "#/components/schemas/Resource"',
        "text/plain:\n              schema:\n                type: string",
    ),
]


@pytest.fixture
def server() -> Iterator[Sandbox]:
    """The sandbox. Its active user is the one in the document's example, so that a login can succeed."""
    form = DOCUMENT["paths"][LOGIN_PATH]["post"]["requestBody"]["content"]["application/x-www-form-urlencoded"]
    sandbox = Sandbox()
    sandbox.active = Credentials(form["example"]["username"], form["example"]["password"])
    with sandbox:
        yield sandbox


def run_schemathesis(server: Sandbox, spec: Path, folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Test the server against the document, with a valid token for protected operations."""
    token = LoginAuth(server.base_url, credentials=server.active).get_token().value
    return subprocess.run(  # noqa: S603 - a tool from our own environment
        [
            Path(sys.executable).with_name("schemathesis"),
            f"--config-file={CONFIG}",
            "run",
            spec,
            f"--url={server.base_url}",
            f"--header=Authorization: Bearer {token}",
            "--no-color",
            *options,
        ],
        # It stores what it learned about a server here. With a new folder, each run is like the first.
        cwd=folder,
        capture_output=True,
        encoding="utf-8",
        timeout=SECONDS,
        check=False,
    )


def test_server_gives_no_undocumented_answer(server: Sandbox, tmp_path: Path) -> None:
    """J7: valid, invalid and hostile requests get documented statuses, types and bodies only, and all occur."""
    result = run_schemathesis(server, SPEC, tmp_path)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "2 selected / 2 total" in result.stdout

    seen = Counter((record.method, record.path, record.status) for record in server.requests)
    answers = {(method, path): set[int]() for method, path in DOCUMENTED}
    for method, path, status in seen:
        answers.get((method, path), set()).add(status)
    assert answers == DOCUMENTED
    # Enough tries, but not an endless run.
    assert 50 <= sum(seen.values()) <= 1000
    assert {status for _, path, status in seen if path not in {LOGIN_PATH, RESOURCE_PATH}} <= {404}


def test_document_that_is_not_true_is_found_out(server: Sandbox, tmp_path: Path) -> None:
    """The counter-proof: for a document with three mistakes about the same server, all three are reported."""
    text = SPEC.read_text("utf-8")
    for truth, mistake in MISTAKES:
        assert text.count(truth) == 1
        text = text.replace(truth, mistake)
    wrong = tmp_path / "openapi.yaml"
    wrong.write_text(text, "utf-8")
    result = run_schemathesis(server, wrong, tmp_path, "--phases=examples,coverage")
    assert result.returncode == 1
    for found in ("Undocumented status code", "Undocumented Content-Type", "Response violates schema"):
        assert found in result.stdout, result.stdout
