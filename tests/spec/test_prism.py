"""Another reader of openapi.yaml: the client against Prism, which mocks the API from it and checks each request.

Prism runs on Node and comes from the npm registry. If it is not available, these tests are skipped and say why.
"""

from __future__ import annotations

import base64
import json
import socket
import subprocess
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from ruamel.yaml import YAML

import kyc_client
from kyc_client import Credentials, LoginAuth, connect
from kyc_openapi.api.resource import get_resource
from kyc_openapi.models import Resource, Unauthorized
from tests.support.paths import OPENAPI as SPEC
from tools.node import PRISM, NoToolError, environment

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.colours import Colour

LOGIN_PATH, RESOURCE_PATH = "/auth/jwt/login", "/api/v1/resource"
CREDENTIALS = Credentials("fake-user@example.com", "fake-password-for-tests")
SECONDS = 60  # to start, which takes two
YEAR_2019 = 1_571_504_193


class Prism:
    """A running Prism: our own process, on a free port of 127.0.0.1.

    Args:
        spec: the document to mock.
        command: runs Prism.
        log: the file for its output.
    """

    def __init__(self, spec: Path, command: list[str], log: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        self.base_url = f"http://127.0.0.1:{port}"
        self._log = log
        with log.open("wb") as output:
            self._process = subprocess.Popen(  # noqa: S603 - the pinned tool
                # With --errors, a request that the document does not allow is an error, not a warning.
                [*command, "mock", "--errors", "--host=127.0.0.1", f"--port={port}", str(spec)],
                env=environment(Path(command[0])),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    @property
    def log(self) -> str:
        """Its output so far."""
        return self._log.read_text("utf-8")

    def wait(self) -> None:
        """Wait until it listens."""
        end, between = time.monotonic() + SECONDS, threading.Event()
        while "Prism is listening" not in self.log:
            assert self._process.poll() is None, f"Prism ended: {self.log}"
            assert time.monotonic() < end, f"Prism did not start within {SECONDS} s: {self.log}"
            between.wait(0.05)

    def stop(self) -> None:
        """Stop the process, and wait for its end."""
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def expired_token() -> str:
    """Return an expired JWT, like the example that FastAPI Users itself publishes."""
    parts = [{"alg": "HS256", "typ": "JWT"}, {"sub": "fake", "aud": "fastapi-users:auth", "exp": YEAR_2019}]
    return ".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in parts) + ".x"


def started(spec: Path, folder: Path) -> Iterator[Prism]:
    """Run Prism for as long as it is needed."""
    # Fetching it may take longer than a test may. It happens before the first test, whose watchdog does not run yet,
    # and has an end of its own.
    try:
        command = PRISM.fetch()
    except NoToolError as error:
        pytest.skip(f"no Prism: {error}")
    prism = Prism(spec, command, folder / "prism.log")
    try:
        prism.wait()
        yield prism
    finally:
        prism.stop()


@pytest.fixture(scope="module")
def prism(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prism]:
    """The API as described in openapi.yaml."""
    yield from started(SPEC, tmp_path_factory.mktemp("prism"))


@pytest.fixture(scope="module")
def prism_of_2019(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prism]:
    """The same API, except that the login's example is a token that expired long ago."""
    folder = tmp_path_factory.mktemp("prism-of-2019")
    document = YAML(typ="safe").load(SPEC)
    media = document["paths"][LOGIN_PATH]["post"]["responses"]["200"]["content"]["application/json"]
    media["example"]["access_token"] = expired_token()
    spec = folder / "openapi.json"
    spec.write_text(json.dumps(document), "utf-8")
    yield from started(spec, folder)


class Preferring(httpx.HTTPTransport):
    """Chooses one of the documented answers of the login, and counts the requests of each path."""

    def __init__(self, preference: str | None = None) -> None:
        super().__init__()
        self.preference = preference
        self.paths: list[str] = []
        self.violations: list[str] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.paths.append(request.url.path)
        if self.preference is not None and request.url.path == LOGIN_PATH:
            request.headers["Prefer"] = self.preference
        response = super().handle_request(request)
        self.violations += response.headers.get_list("sl-violations")
        return response


def test_client_sends_what_the_document_allows(prism: Prism, colour: Colour) -> None:
    """In each colour, login and call pass Prism's validation, and we can parse its answers."""
    resource = colour.operation(get_resource, connect(prism.base_url, credentials=CREDENTIALS))
    assert isinstance(resource, Resource)
    assert "Violation" not in prism.log


def test_prism_does_look_at_requests(prism: Prism) -> None:
    """The counter-proof: a call without a token, and a form without a password, get the documented errors."""
    call = httpx.get(prism.base_url + RESOURCE_PATH)
    login = httpx.post(prism.base_url + LOGIN_PATH, data={"username": "fake-user@example.com"})
    assert (call.status_code, login.status_code) == (401, 422)
    assert "Invalid security scheme used" in call.headers["sl-violations"]
    assert "must have required property 'password'" in login.headers["sl-violations"]


@pytest.mark.parametrize(
    ("preference", "kind", "status", "code"),
    [
        ("code=400, example=LOGIN_BAD_CREDENTIALS", kyc_client.BadCredentialsError, 400, "LOGIN_BAD_CREDENTIALS"),
        ("code=400, example=LOGIN_USER_NOT_VERIFIED", kyc_client.UserNotVerifiedError, 400, "LOGIN_USER_NOT_VERIFIED"),
        ("code=422", kyc_client.LoginValidationError, 422, None),
    ],
)
def test_documented_refusals_have_their_errors(
    prism: Prism, preference: str, kind: type[kyc_client.LoginError], status: int, code: str | None
) -> None:
    """Each example of a refusal in the document, sent by another program, becomes the promised error."""
    with Preferring(preference) as transport:
        auth = LoginAuth(prism.base_url, credentials=CREDENTIALS, transport=transport)
        with pytest.raises(kyc_client.LoginError) as caught:
            auth.get_token()
        assert transport.violations == []
    assert type(caught.value) is kind
    assert (caught.value.status_code, caught.value.code) == (status, code)
    if isinstance(caught.value, kyc_client.LoginValidationError):
        assert caught.value.errors == ((("body", "password"), "Field required", "missing"),)


def test_documented_401_is_followed_by_one_login(prism: Prism) -> None:
    """A refused token costs one login and one more try. The last answer is the documented model."""
    with Preferring() as transport:
        client = connect(prism.base_url, credentials=CREDENTIALS, transport=transport, headers={"Prefer": "code=401"})
        auth: Any = client.get_httpx_client().auth
        auth.get_token()
        answer = get_resource.sync(client=client)
        assert isinstance(answer, Unauthorized)
        assert answer.detail == "Unauthorized"
        assert transport.paths == [LOGIN_PATH, RESOURCE_PATH, LOGIN_PATH, RESOURCE_PATH]
        assert transport.violations == []


@pytest.mark.parametrize("lives", ["unknown", "expired in 2019"])
def test_token_whose_expiry_says_nothing(prism: Prism, prism_of_2019: Prism, lives: str) -> None:
    """F3: with a token that is not a real JWT, or was expired on arrival, ten calls need one login."""
    server = prism_of_2019 if "2019" in lives else prism
    with Preferring() as transport:
        client = connect(server.base_url, credentials=CREDENTIALS, transport=transport)
        auth: Any = client.get_httpx_client().auth
        token = auth.get_token()
        assert [type(get_resource.sync(client=client)) for _ in range(10)] == [Resource] * 10
        assert transport.paths == [LOGIN_PATH] + [RESOURCE_PATH] * 10
    if "2019" in lives:
        assert token.value == expired_token()
