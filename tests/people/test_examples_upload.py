"""The example of an upload: by the path that an API has, and by the operation of a grown one."""

from __future__ import annotations

import email.message
import email.policy
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.support.examples import EXAMPLES, PATIENCE, run
from tests.support.paths import SPECS
from tools import generate

if TYPE_CHECKING:
    from pathlib import Path

    import kyc_client
    from tests.support.fault_server import Exchange, FaultServer

SPEC = SPECS / "grown.yaml"
# Longer than what httpx and the server's socket take at once, with what would have ended a part of a fixed boundary.
CONTENT = bytes(range(256)) * 4000 + b"\r\n--+++--\r\n"
DOCUMENT = {"id": "12345678-1234-5678-1234-567812345678", "kind": "passport"}
TWICE = """
import sys
from pathlib import Path
import kyc_client, upload
with kyc_client.connect() as client:
    for _ in range(2):
        print(getattr(upload, sys.argv[1])(client, "an-applicant", Path(sys.argv[2])))
"""


@pytest.fixture
def passport(tmp_path: Path) -> Path:
    """A document."""
    path = tmp_path / "passport.pdf"
    path.write_bytes(CONTENT)
    return path


@pytest.fixture
def environ(server: FaultServer, credentials: kyc_client.Credentials) -> dict[str, str]:
    """The environment of a service, on a server that stores documents, and revokes all tokens after the first one."""

    def store(exchange: Exchange) -> None:
        if exchange.token is not None and server.accepts(exchange.token):
            exchange.answer(201, DOCUMENT)
        else:
            exchange.answer(401, {"detail": "Unauthorized"})

    def store_and_revoke(exchange: Exchange) -> None:
        store(exchange)
        server.revoke()

    server.on_resource(store_and_revoke, store)
    return {
        "API_BASE_URL": server.base_url,
        "API_LOGIN": credentials.username,
        "API_PASSWORD": credentials.password,
    }


def parts(exchange: Exchange) -> dict[str, tuple[str | None, bytes]]:
    """A multipart body as a server reads it: the file name and the content, by the name of the field."""
    head = b"Content-Type: " + exchange.headers["content-type"].encode() + b"\r\n\r\n"
    message = email.message_from_bytes(head + exchange.body, policy=email.policy.HTTP)
    assert isinstance(message, email.message.EmailMessage)
    found = {}
    for part in message.iter_parts():
        content = part.get_payload(decode=True)
        assert isinstance(content, bytes)
        found[str(part.get_param("name", header="content-disposition"))] = (part.get_filename(), content)
    return found


def upload_twice(function: str, environ: dict[str, str], path: Path, *folders: Path) -> list[str]:
    """Have the example upload a document twice, in a process of its own; the lines that it prints."""
    result = subprocess.run(  # noqa: S603 - this interpreter, on what stands above
        [sys.executable, "-W", "error", "-c", TWICE, function, path],
        env={**os.environ, **environ, "PYTHONPATH": os.pathsep.join(map(str, (*folders, EXAMPLES)))},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (result.returncode, result.stderr) == (0, "")
    return result.stdout.splitlines()


def check_arrival(server: FaultServer) -> None:
    """Each sending was whole: the first, the second, which met a 401, and its repetition after one more login."""
    assert [hit.path for hit in server.hits] == ["/api/v1/applicants/an-applicant/documents"] * 3
    for hit in server.hits:
        assert parts(hit) == {"kind": (None, b"passport"), "file": ("passport.pdf", CONTENT)}
    assert server.login_count == 2


def test_upload_as_a_script(server: FaultServer, environ: dict[str, str], passport: Path) -> None:
    """The example's own command line uploads the document, with one login."""
    result = run("upload", arguments=("an-applicant", str(passport)), **environ)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == f"{DOCUMENT}\n"
    assert (server.login_count, len(server.hits)) == (1, 1)


def test_upload(server: FaultServer, environ: dict[str, str], passport: Path) -> None:
    """The file arrives as it is, also when a revoked token has it sent again."""
    assert upload_twice("upload", environ, passport) == [str(DOCUMENT)] * 2
    check_arrival(server)


def test_upload_by_operation(server: FaultServer, environ: dict[str, str], passport: Path, tmp_path: Path) -> None:
    """The same with the operation that is generated from the grown description, beside the wrapper as it is."""
    package = tmp_path / "generated" / "kyc_openapi"
    package.parent.mkdir()
    assert generate.main(["--spec", str(SPEC), "--out", str(package)]) == 0
    lines = upload_twice("upload_by_operation", environ, passport, package.parent)
    assert [line.startswith(f"Document(id=UUID('{DOCUMENT['id']}')") for line in lines] == [True] * 2
    check_arrival(server)
