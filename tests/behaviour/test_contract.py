"""The contract with the API: our client against the API's own server stack, over a real socket."""

from __future__ import annotations

import base64
import json
import threading
import time
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import parse_qs, urlencode

import httpx
import pytest

import kyc_client
from kyc_client import BadCredentialsError, Credentials, LoginAuth, connect
from kyc_client._login.wire import read_http_date
from kyc_client.sandbox import LOGIN_PATH, RESOURCE_PATH, RequestRecord, Sandbox
from kyc_client.testing._sources import start_over
from kyc_openapi import AuthenticatedClient, Client
from kyc_openapi.api.auth import login
from kyc_openapi.api.resource import get_resource
from kyc_openapi.models import (
    BearerToken,
    HTTPValidationError,
    LoginErrorCode,
    LoginForm,
    LoginRefusal,
    Resource,
    Unauthorized,
)
from tests.support.clocks import Time
from tests.support.colours import COLOURS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.colours import Colour

CROWD = 20
PATIENCE = 15.0  # seconds, for what takes a few


class FromNow:
    """A sandbox that has been running for a while, and what it counts from now on."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.base_url = sandbox.base_url
        self.active, self.inactive, self.unverified = sandbox.active, sandbox.inactive, sandbox.unverified
        self.revoke_all = sandbox.revoke_all
        self.set_active = sandbox.set_active
        self._sandbox = sandbox
        self._before = len(sandbox.requests), sandbox.login_attempts, sandbox.login_count

    @property
    def requests(self) -> tuple[RequestRecord, ...]:
        return self._sandbox.requests[self._before[0] :]

    @property
    def login_attempts(self) -> int:
        return self._sandbox.login_attempts - self._before[1]

    @property
    def login_count(self) -> int:
        return self._sandbox.login_count - self._before[2]


AnySandbox: TypeAlias = Sandbox | FromNow


@pytest.fixture(scope="module")
def running() -> Iterator[Sandbox]:
    """One server for all tests that need no special one: starting and stopping it takes longer than most of them."""
    with Sandbox() as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(running: Sandbox) -> Iterator[FromNow]:
    """The server as a test finds it: no requests yet, all accounts as they were."""
    yield FromNow(running)
    running.set_active(running.active.username, active=True)


def call(colour: Colour, sandbox: AnySandbox, auth: LoginAuth) -> httpx.Response:
    """One call of the protected resource."""
    return colour.send("GET", sandbox.base_url + RESOURCE_PATH, client={"auth": auth})


def call_many(colour: Colour, sandbox: AnySandbox, auth: LoginAuth) -> list[httpx.Response | Exception]:
    """A crowd of calls at the same time."""
    return colour.send_many(CROWD, "GET", sandbox.base_url + RESOURCE_PATH, client={"auth": auth})


def call_with(sandbox: AnySandbox, token: str) -> httpx.Response:
    """A call that knows nothing of `LoginAuth`."""
    return httpx.get(sandbox.base_url + RESOURCE_PATH, headers={"Authorization": f"Bearer {token}"})


def exchanges(sandbox: AnySandbox) -> list[tuple[str, int]]:
    """What the server was asked, and what it answered, in order."""
    return [(record.path, record.status) for record in sandbox.requests]


def wait_until(condition: Callable[[], bool]) -> None:
    """Ask for the state until it is the right one; a state that never comes is a failure, not a hang."""
    deadline = time.monotonic() + PATIENCE
    between = threading.Event()
    while not condition():
        assert time.monotonic() < deadline, f"not within {PATIENCE:g} s"
        between.wait(0.02)


def claims_of(token: str) -> dict[str, Any]:
    """What a token says of itself."""
    payload = token.split(".")[1]
    claims: dict[str, Any] = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    return claims


def login_operation(form: LoginForm) -> Any:
    """The generated login with its form, as an operation that needs a client and nothing else."""
    return SimpleNamespace(sync=partial(login.sync, body=form), asyncio=partial(login.asyncio, body=form))


# The way it should go


def test_first_call_logs_in_and_gets_the_resource(sandbox: AnySandbox, colour: Colour) -> None:
    """connect(), one generated operation, one login: the server knows who asks."""
    resource = colour.operation(get_resource, connect(sandbox.base_url, credentials=sandbox.active))
    assert isinstance(resource, Resource)
    assert resource["user"] == sandbox.active.username
    assert exchanges(sandbox) == [(LOGIN_PATH, 200), (RESOURCE_PATH, 200)]


def test_one_login_serves_many_calls(sandbox: AnySandbox, colour: Colour) -> None:
    """The login is the first request; the calls after it are calls and nothing else."""
    auth = LoginAuth(sandbox.base_url, credentials=sandbox.active)
    assert [call(colour, sandbox, auth).status_code for _ in range(3)] == [200] * 3
    assert exchanges(sandbox) == [(LOGIN_PATH, 200)] + [(RESOURCE_PATH, 200)] * 3


def test_crowd_at_the_start_and_after_a_revocation_costs_one_login_each(sandbox: AnySandbox, colour: Colour) -> None:
    """Twenty calls at once without a token, and twenty whose token has been revoked: nobody fails, one login each."""
    auth = LoginAuth(sandbox.base_url, credentials=sandbox.active)
    for logins in (1, 2):
        results = call_many(colour, sandbox, auth)
        assert [getattr(result, "status_code", result) for result in results] == [200] * CROWD
        assert sandbox.login_attempts == logins
        sandbox.revoke_all()


@pytest.mark.parametrize("change", [str.upper, str.title], ids=["upper", "title"])
def test_letter_case_of_the_login_does_not_matter_to_the_server(
    sandbox: AnySandbox, change: Callable[[str], str]
) -> None:
    """E15: we send the login as it is given; the server finds the user all the same."""
    credentials = Credentials(change(sandbox.active.username), sandbox.active.password)
    LoginAuth(sandbox.base_url, credentials=credentials).get_token()
    assert [(record.who, record.status) for record in sandbox.requests] == [(credentials.username, 200)]


@pytest.mark.parametrize(
    "password",
    [
        pytest.param("fake&password=other&grant_type=x", id="form syntax"),
        pytest.param("fake+plus %2B %26 100% ;=?#/\\", id="percent and plus"),
        pytest.param(" fake with spaces ", id="spaces at the edges"),
        pytest.param("fake\ttab\r\nnewline\n", id="control characters"),
        pytest.param("fake-pässwörd-密码-🔑", id="not ASCII"),
        pytest.param("fake-e\u0301", id="NFD"),
        pytest.param("fake-\u00e9", id="NFC"),
        pytest.param("\ufefffake\u200b\u202e", id="invisible"),
        pytest.param("fake'\"`$(){}<>", id="quotes"),
        pytest.param("fake" * 1000, id="4 kB"),
    ],
)
def test_hard_passwords_arrive_as_they_are(password: str) -> None:
    """E1: encoded as a form and decoded by the real server, whose hash of the very same string accepts them."""
    sandbox = Sandbox()
    sandbox.active = Credentials(sandbox.active.username, password)
    with sandbox:
        LoginAuth(sandbox.base_url, credentials=sandbox.active).get_token()
        assert (sandbox.login_attempts, sandbox.login_count) == (1, 1)


def test_password_is_not_normalised() -> None:
    """The counter-proof: "é" as one character and as two are two passwords, and the server knows only one of them."""
    sandbox = Sandbox()
    sandbox.active = Credentials(sandbox.active.username, "fake-\u00e9")
    with sandbox, pytest.raises(BadCredentialsError):
        LoginAuth(sandbox.base_url, credentials=Credentials(sandbox.active.username, "fake-e\u0301")).get_token()


# Refusals


def wrong_password(sandbox: AnySandbox) -> Credentials:
    """The right login, another password."""
    return Credentials(sandbox.active.username, "fake-and-wrong")


def unknown_user(sandbox: AnySandbox) -> Credentials:
    """A login that nobody has."""
    return Credentials("nobody@sandbox.example", sandbox.active.password)


def inactive_user(sandbox: AnySandbox) -> Credentials:
    """The right pair of an account that was deactivated."""
    return sandbox.inactive


def nul_byte(sandbox: AnySandbox) -> Credentials:
    """The right password and something invisible behind it."""
    return Credentials(sandbox.active.username, sandbox.active.password + "\0")


def unverified_user(sandbox: AnySandbox) -> Credentials:
    """The right pair of a user whom the provider has not verified."""
    return sandbox.unverified


@pytest.mark.parametrize(
    ("whose", "kind", "code"),
    [
        (wrong_password, BadCredentialsError, "LOGIN_BAD_CREDENTIALS"),
        (unknown_user, BadCredentialsError, "LOGIN_BAD_CREDENTIALS"),
        (inactive_user, BadCredentialsError, "LOGIN_BAD_CREDENTIALS"),
        (nul_byte, BadCredentialsError, "LOGIN_BAD_CREDENTIALS"),
        (unverified_user, kyc_client.UserNotVerifiedError, "LOGIN_USER_NOT_VERIFIED"),
    ],
)
def test_refused_login_is_tried_once_and_then_known(
    sandbox: AnySandbox,
    colour: Colour,
    whose: Callable[[AnySandbox], Credentials],
    kind: type[kyc_client.LoginError],
    code: str,
) -> None:
    """E10: each refusal of the guide is its error; the second call gets the same one, and the server is not asked."""
    auth = LoginAuth(sandbox.base_url, credentials=whose(sandbox))
    for cached in (False, True):
        with pytest.raises(kind) as caught:
            call(colour, sandbox, auth)
        error = caught.value
        assert type(error) is kind
        assert (error.status_code, error.code, error.cached) == (400, code, cached)
    assert exchanges(sandbox) == [(LOGIN_PATH, 400)]


def test_unverified_user_may_log_in_where_verification_is_not_required(colour: Colour) -> None:
    """The refusal is the server's policy, not ours."""
    with Sandbox(require_verification=False) as sandbox:
        resource = colour.operation(get_resource, connect(sandbox.base_url, credentials=sandbox.unverified))
        assert isinstance(resource, Resource)
        assert resource["user"] == sandbox.unverified.username


def test_other_credentials_are_tried_at_once(sandbox: AnySandbox) -> None:
    """A remembered refusal belongs to the pair that was refused: a corrected password works without a restart.

    The pair is asked for once a second.
    """
    pairs = iter([wrong_password(sandbox), sandbox.active])
    auth = LoginAuth(sandbox.base_url, credentials=lambda: next(pairs))
    clocks = Time()
    start_over(auth._source, clocks.clock)
    for _ in range(2):
        with pytest.raises(BadCredentialsError):
            auth.get_token()
    clocks.advance(1)
    auth.get_token()
    assert exchanges(sandbox) == [(LOGIN_PATH, 400), (LOGIN_PATH, 200)]


def test_oversized_field_is_refused_with_neither_code(sandbox: AnySandbox) -> None:
    """Over 1 MiB the server answers 400 with a sentence: not a code, so it is not shown as one."""
    credentials = Credentials(sandbox.active.username, "f" * (1024 * 1024 + 1))
    with pytest.raises(kyc_client.LoginRefusedError) as caught:
        LoginAuth(sandbox.base_url, credentials=credentials).get_token()
    assert type(caught.value) is kyc_client.LoginRefusedError
    assert (caught.value.status_code, caught.value.code) == (400, None)
    assert len(str(caught.value)) < 1000


def test_wrong_path_in_the_base_url_is_refused_with_a_hint(sandbox: AnySandbox) -> None:
    """E11: the server's 404 for a login somewhere else points to the base URL, not to the password."""
    auth = LoginAuth(sandbox.base_url + "/elsewhere", credentials=sandbox.active)
    with pytest.raises(kyc_client.LoginRefusedError, match="API_BASE_URL") as caught:
        auth.get_token()
    assert (caught.value.status_code, sandbox.requests[0].path) == (404, "/elsewhere" + LOGIN_PATH)


# 422


class LosesThePassword(httpx.HTTPTransport):
    """Something between us and the server (a filter, a proxy) that empties the password field of the form.

    The only way to a 422 with credentials that are not empty: the client itself sends no empty field.
    """

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        form = {name: values[0] for name, values in parse_qs(request.content.decode()).items()}
        content = urlencode({**form, "password": ""}).encode()
        headers = {**request.headers, "content-length": str(len(content))}
        return super().handle_request(httpx.Request(request.method, request.url, headers=headers, content=content))


def test_form_that_the_server_does_not_accept(sandbox: AnySandbox) -> None:
    """E10, E14: the server's own 422 becomes (loc, msg, type), is remembered, and is attributed to no credentials."""
    with LosesThePassword() as transport:
        auth = LoginAuth(sandbox.base_url, credentials=sandbox.active, transport=transport)
        for cached in (False, True):
            with pytest.raises(kyc_client.LoginValidationError) as caught:
                auth.get_token()
            assert caught.value.errors == ((("body", "password"), "Field required", "missing"),)
            assert (caught.value.status_code, caught.value.cached) == (422, cached)
    assert exchanges(sandbox) == [(LOGIN_PATH, 422)]


def test_generated_login_parses_the_servers_422(sandbox: AnySandbox, colour: Colour) -> None:
    """By hand an empty password can be sent; FastAPI's answer to it is the model that the spec describes."""
    operation = login_operation(LoginForm(sandbox.active.username, ""))
    answer = colour.operation(operation, Client(base_url=sandbox.base_url))
    assert isinstance(answer, HTTPValidationError)
    assert [(problem.loc, problem.type_) for problem in answer.detail] == [(["body", "password"], "missing")]


# The life of a token


def test_expired_token_is_replaced_before_it_is_sent() -> None:
    """When the server has stopped accepting a token, the client knows: a login, then the call; in each colour."""
    with Sandbox(token_lifetime=2) as sandbox:
        auths = [(colour, LoginAuth(sandbox.base_url, credentials=sandbox.active)) for colour in COLOURS]
        tokens = [colour.token(auth).value for colour, auth in auths]
        assert [call_with(sandbox, token).status_code for token in tokens] == [200] * 3
        wait_until(lambda: all(call_with(sandbox, token).status_code == 401 for token in tokens))
        before = len(sandbox.requests)
        for colour, auth in auths:
            assert call(colour, sandbox, auth).status_code == 200
            assert colour.token(auth).value not in tokens
        assert exchanges(sandbox)[before:] == [(LOGIN_PATH, 200), (RESOURCE_PATH, 200)] * 3


def test_token_is_renewed_under_load_before_it_expires() -> None:
    """Calls go on past the end of a token of 4 s, in each colour: no 401, not even a mended one, and one renewal."""
    with Sandbox(token_lifetime=4) as sandbox:
        auths = [(colour, LoginAuth(sandbox.base_url, credentials=sandbox.active)) for colour in COLOURS]
        first = [colour.token(auth).value for colour, auth in auths]

        def all_renewed() -> bool:
            for colour, auth in auths:
                call(colour, sandbox, auth)
            return sandbox.login_count >= 6

        wait_until(all_renewed)
        # None of them holds its first token any more: nobody has renewed twice, and nobody not at all.
        wait_until(lambda: all(auth.get_token().value not in first for _, auth in auths))
        assert sandbox.login_attempts == 6
        assert {status for _, status in exchanges(sandbox)} == {200}


def test_revoked_token_is_replaced_by_the_call_that_meets_it(sandbox: AnySandbox, colour: Colour) -> None:
    """`revoke_all` is seen by nobody: the 401 is followed by one login and the same call once more."""
    auth = LoginAuth(sandbox.base_url, credentials=sandbox.active)
    assert call(colour, sandbox, auth).status_code == 200
    sandbox.revoke_all()
    assert call(colour, sandbox, auth).status_code == 200
    assert exchanges(sandbox) == [
        (LOGIN_PATH, 200),
        (RESOURCE_PATH, 200),
        (RESOURCE_PATH, 401),
        (LOGIN_PATH, 200),
        (RESOURCE_PATH, 200),
    ]


def test_deactivated_account_costs_one_login_for_all(sandbox: AnySandbox, colour: Colour) -> None:
    """B7: 401, then 400. Every call gets the refusal, one login is tried, and none for the calls after that."""
    auth = LoginAuth(sandbox.base_url, credentials=sandbox.active)
    assert call(colour, sandbox, auth).status_code == 200
    sandbox.set_active(sandbox.active.username, active=False)
    for _ in range(2):
        results = call_many(colour, sandbox, auth)
        assert {type(result) for result in results} == {BadCredentialsError}
        assert len({id(result) for result in results}) == CROWD
        assert (sandbox.login_attempts, sandbox.login_count) == (2, 1)


def test_account_that_is_activated_again_works_after_a_reset(sandbox: AnySandbox, colour: Colour) -> None:
    """reset() is the operator's word that the remembered refusal is no longer true."""
    sandbox.set_active(sandbox.active.username, active=False)
    auth = LoginAuth(sandbox.base_url, credentials=sandbox.active)
    with pytest.raises(BadCredentialsError):
        call(colour, sandbox, auth)
    sandbox.set_active(sandbox.active.username, active=True)
    with pytest.raises(BadCredentialsError) as caught:
        call(colour, sandbox, auth)
    assert caught.value.cached
    auth.reset()
    assert call(colour, sandbox, auth).status_code == 200
    assert sandbox.login_attempts == 2


# What the server says, on which the client relies


def test_401_names_no_scheme(sandbox: AnySandbox) -> None:
    """The server's 401 has no `WWW-Authenticate`: the status alone is what we go by."""
    auth = LoginAuth(sandbox.base_url, credentials=sandbox.active)
    token = auth.get_token().value
    sandbox.revoke_all()
    refusal = call_with(sandbox, token)
    assert (refusal.status_code, refusal.json()) == (401, {"detail": "Unauthorized"})
    assert "www-authenticate" not in refusal.headers


@pytest.mark.parametrize("lifetime", [60, 3600, 86_400])
def test_lifetime_is_what_the_server_was_told(lifetime: int) -> None:
    """`exp` is the server's clock plus its setting, to the second; the lifetime that we reckon agrees.

    Although `Date` is cut to whole seconds, and uvicorn writes it anew only once a second.
    """
    with Sandbox(token_lifetime=lifetime) as sandbox:
        form = LoginForm(sandbox.active.username, sandbox.active.password)
        with Client(base_url=sandbox.base_url) as client:
            before = time.time()
            answer = login.sync_detailed(client=client, body=form)
            after = time.time()
        assert isinstance(answer.parsed, BearerToken)
        expiry = claims_of(answer.parsed.access_token)["exp"]
        assert before + lifetime - 1 <= expiry <= after + lifetime
        date = read_http_date(answer.headers["Date"])
        assert date is not None
        assert before - 2.5 <= date <= after

        auth = LoginAuth(sandbox.base_url, credentials=sandbox.active)
        before = time.time()
        token = auth.get_token()
        after = time.time()
        assert token.expires_at is not None
        assert token.expires_at.timestamp() == claims_of(token.value)["exp"]
        assert before + lifetime - 1 <= token.expires_at.timestamp() <= after + lifetime
        lease = auth._source.fresh()
        assert lease is not None
        assert abs(lease._life - lifetime) <= 1


def test_token_without_expiry_is_used_until_the_server_refuses_it(colour: Colour) -> None:
    """A server that issues tokens without `exp`: nothing is renewed before the 401."""
    with Sandbox(token_lifetime=None) as sandbox:
        auth = LoginAuth(sandbox.base_url, credentials=sandbox.active)
        assert colour.token(auth).expires_at is None
        assert call(colour, sandbox, auth).status_code == 200
        sandbox.revoke_all()
        assert call(colour, sandbox, auth).status_code == 200
        assert sandbox.login_attempts == 2


def test_second_login_within_a_second_may_bring_the_same_token(sandbox: AnySandbox, colour: Colour) -> None:
    """B3: the server's tokens have no `iat`; what a login brings works, also if it is the same string again."""
    auth = LoginAuth(sandbox.base_url, credentials=sandbox.active)
    for logins in range(1, 4):
        assert call(colour, sandbox, auth).status_code == 200
        assert sandbox.login_attempts == logins
        auth.reset()


# The generated operations by hand


def test_generated_login_gives_a_token_that_the_generated_client_can_use(sandbox: AnySandbox, colour: Colour) -> None:
    """Without our wrapper, as the guide has it: log in, put the token into a client, call."""
    operation = login_operation(LoginForm(sandbox.active.username, sandbox.active.password))
    token = colour.operation(operation, Client(base_url=sandbox.base_url))
    assert isinstance(token, BearerToken)
    assert token.token_type == "bearer"
    client = AuthenticatedClient(base_url=sandbox.base_url, token=token.access_token)
    resource = colour.operation(get_resource, client)
    assert isinstance(resource, Resource)
    assert resource["user"] == sandbox.active.username


def test_generated_login_on_a_connected_client_is_one_login(sandbox: AnySandbox, colour: Colour) -> None:
    """The login needs no token, so calling it by hand does not log in first."""
    operation = login_operation(LoginForm(sandbox.active.username, sandbox.active.password, "password"))
    client = connect(sandbox.base_url, credentials=sandbox.active)
    assert isinstance(colour.operation(operation, client), BearerToken)
    assert exchanges(sandbox) == [(LOGIN_PATH, 200)]


@pytest.mark.parametrize(
    ("whose", "code"),
    [
        (wrong_password, LoginErrorCode.LOGIN_BAD_CREDENTIALS),
        (unverified_user, LoginErrorCode.LOGIN_USER_NOT_VERIFIED),
    ],
)
def test_generated_login_parses_the_servers_refusals(
    sandbox: AnySandbox, colour: Colour, whose: Callable[[AnySandbox], Credentials], code: LoginErrorCode
) -> None:
    """Both codes of the guide come out as members of the generated enum."""
    credentials = whose(sandbox)
    operation = login_operation(LoginForm(credentials.username, credentials.password))
    answer = colour.operation(operation, Client(base_url=sandbox.base_url))
    assert isinstance(answer, LoginRefusal)
    assert answer.detail is code


def test_generated_operation_parses_the_servers_401(sandbox: AnySandbox, colour: Colour) -> None:
    """A token that the server does not know: the answer is the model that the spec describes."""
    client = AuthenticatedClient(base_url=sandbox.base_url, token="fake.token.of-nobody")
    answer = colour.operation(get_resource, client)
    assert isinstance(answer, Unauthorized)
    assert answer.detail == "Unauthorized"
