"""make spec-drift: compare our login with the one that a server publishes."""

from __future__ import annotations

import copy
import json
import time
from typing import TYPE_CHECKING, Any, TypeAlias

import httpx
import pytest
from ruamel.yaml import YAML

from kyc_client.sandbox import LOGIN_PATH, Sandbox
from tests.support.fault_server import FaultServer, answer, drip
from tests.support.paths import OPENAPI as SPEC
from tools.compare import spec_drift
from tools.compare.login_drift import JSON, Document, Verdict, differences

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Change: TypeAlias = Callable[[dict[str, Any]], object]

pytestmark = pytest.mark.tools

OURS = Document(YAML(typ="safe").load(SPEC))
BREAKS, TELL, HARMLESS = Verdict


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    """The API's own server software, which publishes its document like the API."""
    with Sandbox() as sandbox:
        yield sandbox


@pytest.fixture(scope="module")
def published(sandbox: Sandbox) -> dict[str, Any]:
    """The document that the server publishes."""
    document: dict[str, Any] = httpx.get(f"{sandbox.base_url}/openapi.json").json()
    return document


def found(document: dict[str, Any]) -> set[tuple[Verdict, str]]:
    """Return the verdicts on a document, each with its place."""
    return {(each.verdict, each.where) for each in differences(OURS, Document(document))}


def form(document: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of the login's form."""
    [name] = [name for name in document["components"]["schemas"] if name.startswith("Body_")]
    schema: dict[str, Any] = document["components"]["schemas"][name]
    return schema


def operation(document: dict[str, Any]) -> dict[str, Any]:
    """Return the login operation."""
    login: dict[str, Any] = document["paths"][LOGIN_PATH]["post"]
    return login


def token(document: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of the login's 200."""
    schema: dict[str, Any] = document["components"]["schemas"]["BearerResponse"]
    return schema


def examples(document: dict[str, Any]) -> dict[str, Any]:
    """Return the server's examples of refusals."""
    shown: dict[str, Any] = operation(document)["responses"]["400"]["content"][JSON]["examples"]
    return shown


def rename_code(document: dict[str, Any]) -> None:
    """Give one of the refusals another code."""
    examples(document)["LOGIN_BAD_CREDENTIALS"]["value"]["detail"] = "LOGIN_WRONG"


def move_codes(document: dict[str, Any]) -> None:
    """Move the refusals to another status."""
    responses = operation(document)["responses"]
    responses["403"] = responses.pop("400")


def test_sandbox_publishes_nothing_that_breaks_us(sandbox: Sandbox, capsys: pytest.CaptureFixture[str]) -> None:
    """J7: everything that the real server software adds to the guide is harmless."""
    assert spec_drift.main([sandbox.base_url]) == 0
    shown = capsys.readouterr().out
    assert [line.split()[:4] for line in shown.splitlines()[4:-2]] == [
        ["harmless", "request,", "client_id", "optional;"],
        ["harmless", "request,", "client_secret", "optional;"],
        ["harmless", "request,", "scope", "optional;"],
        ["harmless", "status", "400,", "detail"],
        ["harmless", "status", "422,", "detail"],
    ]
    assert shown.endswith("\n0 breaks us, 0 tell the provider, 5 harmless.\n")


def test_our_own_document_agrees_with_itself() -> None:
    """Two equal documents have no difference."""
    assert found(OURS.content) == set()


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda document: form(document)["required"].append("scope"), {(BREAKS, "request, scope")}),
        (lambda document: form(document)["properties"].pop("password"), {(BREAKS, "request, password")}),
        (lambda document: form(document).pop("required"),
         {(HARMLESS, "request, username"), (HARMLESS, "request, password")}),
        (lambda document: form(document)["properties"]["username"].update(type="integer"),
         {(BREAKS, "request, username")}),
        (lambda document: form(document)["properties"].update(grant_type={"const": "client_credentials"}),
         {(BREAKS, "request, grant_type")}),
        (lambda document: form(document)["properties"].update(tenant={"type": "string"}),
         {(HARMLESS, "request, tenant")}),
        (lambda document: operation(document)["requestBody"].update(content={JSON: {}}), {(BREAKS, "request")}),
        (lambda document: operation(document).update(security=[{"OAuth2PasswordBearer": []}]),
         {(BREAKS, f"POST {LOGIN_PATH}")}),
        (lambda document: document.update(security=[{"OAuth2PasswordBearer": []}]), {(BREAKS, f"POST {LOGIN_PATH}")}),
        (lambda document: operation(document).update(security=[{"OAuth2PasswordBearer": []}, {}]), set()),
        (lambda document: token(document)["properties"].pop("access_token"), {(BREAKS, "status 200, access_token")}),
        (lambda document: token(document)["required"].remove("token_type"), {(TELL, "status 200, token_type")}),
        (lambda document: token(document)["properties"].update(access_token={"type": "object"}),
         {(BREAKS, "status 200, access_token")}),
        (lambda document: token(document)["properties"].update(access_token={"type": ["string", "null"]}),
         {(TELL, "status 200, access_token")}),
        (lambda document: token(document)["properties"].update(token_type={"type": "string", "const": "mac"}),
         {(BREAKS, "status 200, token_type")}),
        (lambda document: operation(document)["responses"]["200"].update(content={"text/plain": {}}),
         {(BREAKS, "status 200")}),
        (lambda document: operation(document)["responses"].update({"204": {"description": "A cookie."}}),
         {(BREAKS, "status 204")}),
        (lambda document: operation(document)["responses"].update({"303": {"description": "Elsewhere."}}),
         {(BREAKS, "status 303")}),
        (lambda document: operation(document)["responses"].pop("200"), {(BREAKS, "status 200")}),
        (lambda document: operation(document)["responses"].pop("422"), {(TELL, "status 422")}),
        (lambda document: operation(document)["responses"].update({"429": {"description": "Later."}}),
         {(HARMLESS, "status 429")}),
        (lambda document: operation(document)["responses"].update({"403": {"description": "No."}}),
         {(HARMLESS, "status 403")}),
        (lambda document: operation(document)["responses"].update({"default": {"description": "Any."}}),
         {(HARMLESS, "status default")}),
        (rename_code, {(BREAKS, "code LOGIN_BAD_CREDENTIALS"), (HARMLESS, "code LOGIN_WRONG")}),
        (lambda document: examples(document).clear(),
         {(TELL, "code LOGIN_BAD_CREDENTIALS"), (TELL, "code LOGIN_USER_NOT_VERIFIED")}),
        (lambda document: examples(document).update(LOCKED={"value": {"detail": "LOGIN_LOCKED"}}),
         {(HARMLESS, "code LOGIN_LOCKED")}),
        (move_codes, {(TELL, "status 400"), (HARMLESS, "status 403"), (BREAKS, "code LOGIN_BAD_CREDENTIALS"),
                      (BREAKS, "code LOGIN_USER_NOT_VERIFIED")}),
        (lambda document: document["components"]["schemas"]["HTTPValidationError"]["properties"].update(
            detail={"type": "string"}), {(TELL, "status 422, detail")}),
        (lambda document: operation(document)["responses"]["422"].update(content={"text/html": {}}),
         {(TELL, "status 422")}),
    ],
)  # fmt: skip
def test_each_difference_has_its_verdict(
    published: dict[str, Any], change: Change, expected: set[tuple[Verdict, str]]
) -> None:
    """Each change of the published document gives one more finding, with the verdict for its effect on us."""
    changed = copy.deepcopy(published)
    change(changed)
    # A finding about a whole part replaces the findings about its details.
    assert found(changed) - found(published) == expected


def test_login_that_has_moved(published: dict[str, Any]) -> None:
    """If the login has moved, the finding names its new place."""
    moved = copy.deepcopy(published)
    moved["paths"]["/v2/login"] = moved["paths"].pop(LOGIN_PATH)
    [difference] = differences(OURS, Document(moved))
    assert difference.verdict is BREAKS
    assert difference.what.endswith("POST /v2/login")


def test_report_of_what_breaks(
    server: FaultServer, published: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    """The worst difference comes first, and the exit status reports it."""
    changed = copy.deepcopy(published)
    form(changed)["required"].append("otp")
    form(changed)["properties"]["otp"] = {"type": "string"}
    server.on_resource(answer(200, changed))
    assert spec_drift.main([server.base_url]) == 1
    shown = capsys.readouterr().out
    assert " ".join(shown.splitlines()[4].split()) == "breaks us request, otp required; we do not send it"
    assert shown.endswith("\n1 breaks us, 0 tell the provider, 5 harmless.\n")
    assert [hit.target for hit in server.hits] == ["/openapi.json"]


@pytest.mark.parametrize(
    ("given", "asked"), [("", "/openapi.json"), ("/kyc/", "/kyc/openapi.json"), ("/v1/schema.json", "/v1/schema.json")]
)
def test_where_the_document_is_looked_for(
    server: FaultServer, published: dict[str, Any], given: str, asked: str
) -> None:
    """The document is at FastAPI's path below the base URL, or at the given URL if that ends in .json."""
    server.on_resource(answer(200, published))
    assert spec_drift.main([server.base_url + given]) == 0
    assert [hit.target for hit in server.hits] == [asked]


@pytest.mark.parametrize(
    ("status", "body", "told"),
    [
        (404, {"detail": "Not Found"}, "answered 404"),
        (307, {}, "answered 307"),
        (200, b"<html>", "is not JSON"),
        (200, [], "is not an OpenAPI 3 document"),
        (200, {"swagger": "2.0"}, "is not an OpenAPI 3 document"),
        (200, {"openapi": "3.1.0", "paths": {LOGIN_PATH: {"post": {"security": 5}}}}, "cannot be understood"),
    ],
)
def test_answer_that_is_no_document(
    server: FaultServer, capsys: pytest.CaptureFixture[str], status: int, body: Any, told: str
) -> None:
    """The exit status is 2, because nothing was compared. One line says why."""
    server.on_resource(answer(status, body))
    assert spec_drift.main([server.base_url]) == 2
    shown = capsys.readouterr()
    assert told in shown.err
    assert (shown.out, shown.err.count("\n")) == ("", 1)


@pytest.mark.parametrize(
    "raw",
    [b"HTTP/1.1 200 OK\r\nX-Slow: ", b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n{"],
    ids=["headers", "body"],
)
def test_answer_that_never_ends(server: FaultServer, raw: bytes) -> None:
    """The download ends in time, even if the server sends its bytes very slowly."""
    server.on_resource(drip(raw, 0.05))
    began = time.monotonic()
    with pytest.raises(spec_drift.NothingToCompareError, match="did not arrive within 1 s"):
        spec_drift.fetch(httpx.URL(f"{server.base_url}/openapi.json"), seconds=1)
    assert time.monotonic() - began < 20


def test_answer_that_is_too_large(server: FaultServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A document that is too large is refused, so a server cannot fill our memory."""
    monkeypatch.setattr(spec_drift, "MAX_BYTES", 1000)
    server.on_resource(answer(200, b" " * 1001))
    with pytest.raises(spec_drift.NothingToCompareError, match="larger than 1000 bytes"):
        spec_drift.fetch(httpx.URL(server.base_url))


def test_nobody_there(capsys: pytest.CaptureFixture[str]) -> None:
    """A server that is down does not count as equal. The message does not repeat a password in the URL."""
    with FaultServer() as server:
        port = httpx.URL(server.base_url).port
    assert spec_drift.main([f"http://me:fake-password@127.0.0.1:{port}"]) == 2
    shown = capsys.readouterr()
    assert f"http://127.0.0.1:{port}/openapi.json cannot be reached" in shown.err
    assert "fake-password" not in shown.err + shown.out


@pytest.mark.parametrize("url", ["ftp://kyc.example.com", "kyc.example.com", "http://", "http://kyc.example.com:x"])
def test_url_that_is_none(capsys: pytest.CaptureFixture[str], url: str) -> None:
    """A URL that is not a server's is refused before anything is sent."""
    assert spec_drift.main([url]) == 2
    assert f"spec-drift: {url} is not" in capsys.readouterr().err


def test_without_a_url_there_is_help(capsys: pytest.CaptureFixture[str]) -> None:
    """There is no default server."""
    with pytest.raises(SystemExit) as ended:
        spec_drift.main([])
    assert ended.value.code == 2
    assert "make spec-drift URL=https://kyc.example.com" in capsys.readouterr().err


def test_document_of_ours_that_has_no_login(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """If `SPEC` is another document, the message names `SPEC` and not the server."""
    spec = tmp_path / "other.json"
    spec.write_text(json.dumps({"openapi": "3.1.0", "paths": {}}), "utf-8")
    assert spec_drift.main(["--spec", str(spec), "http://127.0.0.1:9"]) == 2
    assert f"{spec} cannot be used for a comparison: it has no operation" in capsys.readouterr().err
