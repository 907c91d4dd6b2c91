# ruff: noqa: INP001 - no package: a folder named `typing` that can be imported would hide the standard library's
# ruff: noqa: T201 - never run, so it prints nothing
# pyright: reportUnnecessaryTypeIgnoreComment=true
"""The public surface as type checkers see it: read by `make types` (mypy and pyright, both strict), and never run.

Each mistake at the end is one that both checkers must complain about: should one of them stop to, it reports the ignore
as unused. (pyright honours `type: ignore` too, whatever the code in its brackets, which is mypy's.)
"""

import os
import ssl
from datetime import datetime
from typing import assert_type

import httpx

import kyc_client
from kyc_client import (
    BadCredentialsError,
    ConfigurationError,
    Credentials,
    KYCClientError,
    LoginAuth,
    LoginError,
    LoginRefusedError,
    LoginResponseError,
    LoginUnavailableError,
    LoginValidationError,
    Token,
    UserNotVerifiedError,
    connect,
    errors,
)
from kyc_client.testing import Call, FakeKYC, Handler, Route
from kyc_openapi import AuthenticatedClient, Client
from kyc_openapi.api.auth import login
from kyc_openapi.api.resource import get_resource
from kyc_openapi.errors import UnexpectedStatus
from kyc_openapi.models import (
    BearerToken,
    HTTPValidationError,
    LoginErrorCode,
    LoginForm,
    LoginRefusal,
    Resource,
    Unauthorized,
)
from kyc_openapi.types import Response

URL = "https://kyc.example.com"


def credentials_of_the_vault() -> Credentials:
    """A callable, as `credentials=` takes it."""
    return Credentials("fake-login", password="fake-password")


# The ten lines of a service


def sync_service() -> Resource | None:
    """With threads."""
    with kyc_client.connect() as client:
        assert_type(client, kyc_client.Client)
        answer = get_resource.sync(client=client)
        assert_type(answer, Resource | Unauthorized | None)
        assert_type(get_resource.sync_detailed(client=client), Response[Resource | Unauthorized])
    return answer if isinstance(answer, Resource) else None


async def async_service() -> None:
    """With tasks: the same factory, the same type."""
    async with kyc_client.connect() as client:
        assert_type(client, kyc_client.Client)
        assert_type(await get_resource.asyncio(client=client), Resource | Unauthorized | None)
        assert_type(await get_resource.asyncio_detailed(client=client), Response[Resource | Unauthorized])


def without_generated_code() -> None:
    """`LoginAuth` is what httpx takes as `auth`."""
    auth = kyc_client.LoginAuth(URL)
    with httpx.Client(base_url=URL, auth=auth) as client:
        client.get("/api/v1/resource", auth=auth)
    httpx.AsyncClient(base_url=URL, auth=auth)


# All of the surface


def connecting() -> None:
    """Each argument in each of its forms; what is httpx's is passed on."""
    assert_type(connect(), kyc_client.Client)
    connect(None, credentials=None, timeout=None)
    connect(URL, credentials=Credentials("fake-login", "fake-password"), timeout=3)
    connect(httpx.URL(URL), credentials=credentials_of_the_vault, timeout=httpx.Timeout(3.0, connect=1.0))
    connect(URL, credentials=Credentials.from_env, allow_insecure_http=True, raise_on_unexpected_status=False)
    connect(
        URL,
        transport=httpx.HTTPTransport(retries=1),
        verify=ssl.create_default_context(),
        cert=("fake.crt", "fake.key"),
        proxy="http://proxy.example.com",
        trust_env=False,
        limits=httpx.Limits(max_connections=5),
        headers={"X-Fake": "1"},
        follow_redirects=True,
    )
    client = connect().with_headers({"X-Fake": "1"}).with_timeout(httpx.Timeout(3))
    assert_type(client, kyc_client.Client)
    assert_type(client.get_httpx_client(), httpx.Client)
    assert_type(client.get_async_httpx_client(), httpx.AsyncClient)
    # How the README gets at a client's LoginAuth.
    auth = client.get_httpx_client().auth
    if isinstance(auth, LoginAuth):
        assert_type(auth.get_token(), Token)


async def authenticating() -> None:
    """`LoginAuth`, its arguments and methods."""
    assert_type(LoginAuth(), LoginAuth)
    LoginAuth(URL, credentials=credentials_of_the_vault, timeout=3, allow_insecure_http=True, verify=False)
    auth: httpx.Auth = LoginAuth(httpx.URL(URL), timeout=httpx.Timeout(3), transport=httpx.HTTPTransport())
    assert isinstance(auth, LoginAuth)
    assert_type(auth.get_token(), Token)
    assert_type(await auth.aget_token(), Token)
    auth.reset()


def values(token: Token, credentials: Credentials) -> None:
    """What tokens and credentials tell."""
    assert_type(token.value, str)
    assert_type(token.expires_at, datetime | None)
    assert_type(credentials.username, str)
    assert_type(credentials.password, str)
    assert_type(Credentials.from_env(), Credentials)
    assert_type(Credentials.from_env({"API_LOGIN": "fake-login"}), Credentials)
    assert_type(Credentials.from_env(environ=os.environ), Credentials)
    assert_type(kyc_client.__version__, str)
    # Hashable, and equal by value.
    assert_type({credentials: token}, dict[Credentials, Token])


def failing() -> None:
    """Each error, from the most special to the most general, with what it tells."""
    try:
        connect()
    except LoginValidationError as error:
        assert_type(error.errors, tuple[tuple[tuple[int | str, ...], str, str], ...])
    except (BadCredentialsError, UserNotVerifiedError, LoginRefusedError, LoginResponseError) as error:
        assert_type(error.code, str | None)
    except LoginUnavailableError as error:
        assert_type(error.retry_after, float | None)
    except LoginError as error:
        assert_type(error.status_code, int | None)
        assert_type(error.cached, bool)
    except ConfigurationError as error:
        assert_type(error, ConfigurationError)
    except KYCClientError as error:
        assert_type(error, KYCClientError)
    except UnexpectedStatus as error:
        assert_type(error.status_code, int)
        assert_type(error.content, bytes)
    assert_type(errors.LoginError("A message.", status_code=400, code="FAKE"), LoginError)


def generated(client: Client) -> None:
    """The generated login by hand: on a client without a token, and on a connected one."""
    form = LoginForm(username="fake-login", password="fake-password", grant_type="password")
    answer = login.sync(client=client, body=form)
    assert_type(answer, BearerToken | HTTPValidationError | LoginRefusal | None)
    assert_type(login.sync(client=connect(), body=form), BearerToken | HTTPValidationError | LoginRefusal | None)
    if isinstance(answer, BearerToken):
        assert_type(answer.access_token, str)
    if isinstance(answer, LoginRefusal):
        # Open: the server may have codes that the guide does not know.
        assert_type(answer.detail, LoginErrorCode | str)


# The tests of a service


def decide(request: httpx.Request) -> httpx.Response | dict[str, int]:
    """A handler may return a response, or what is to be JSON."""
    return {"length": len(request.content)} if request.content else httpx.Response(404)


def test_service(fake_kyc: FakeKYC) -> None:
    """What the fixture gives."""
    handler: Handler = decide
    route = fake_kyc.on("GET", "/api/v1/applicants/{id}", json={"id": "42"}, status=200)
    assert_type(route, Route)
    fake_kyc.on("POST", "/api/v1/applicants", handler, delay=0.1, public=True)
    fake_kyc.on("GET", "/api/v1/documents/{id}", content=b"fake", headers={"Content-Type": "image/png"})
    assert_type(fake_kyc.route("GET", "/api/v1/resource").calls, list[Call])
    assert_type(fake_kyc.connect(timeout=3), kyc_client.Client)
    assert_type(fake_kyc.base_url, str)
    assert_type(fake_kyc.environ, dict[str, str])
    assert_type(fake_kyc.credentials, Credentials)
    assert_type(fake_kyc.logins + fake_kyc.login_attempts, int)
    call = fake_kyc.requests[0]
    assert_type((call.method, call.path, call.status), tuple[str, str, int | None])
    assert_type(call.request, httpx.Request)
    assert_type(call.path_params["id"], str)
    fake_kyc.fail_login(400, code="LOGIN_USER_NOT_VERIFIED")
    fake_kyc.fail_login(503, times=2, retry_after=1.5)
    fake_kyc.slow_login(0.1)
    fake_kyc.restore_login()
    fake_kyc.advance(60)
    fake_kyc.expire()
    fake_kyc.revoke()


async def without_pytest() -> None:
    """The fake by itself, on either transport."""
    fake = FakeKYC(token_lifetime=None, credentials=Credentials("fake-login", "fake-password"))
    httpx.Client(transport=fake.transport)
    httpx.AsyncClient(transport=fake.transport)
    with fake.serve() as serving, serving.control_time() as same:
        assert_type(same, FakeKYC)


# Mistakes, each of which a checker sees


def mistakes(client: Client, auth: LoginAuth, token: Token, error: LoginError) -> None:
    """What a service author may get wrong."""
    connect(URL, Credentials("fake-login", "fake-password"))  # type: ignore[call-arg]
    connect(443)  # type: ignore[arg-type]
    connect(credentials=("fake-login", "fake-password"))  # type: ignore[arg-type]
    connect(credentials=lambda: "fake-password")  # type: ignore[arg-type, return-value]
    connect(timeout="3 s")  # type: ignore[arg-type]
    LoginAuth(allow_insecure_http="yes")  # type: ignore[arg-type]
    Credentials("fake-login")  # type: ignore[call-arg]
    Credentials.from_env({"API_LOGIN": None})  # type: ignore[dict-item]
    token.value = "fake"  # type: ignore[misc]
    token.expires_at.timestamp()  # type: ignore[union-attr]
    error.code.lower()  # type: ignore[union-attr]
    print(error.errors)  # type: ignore[attr-defined]
    print(auth.token)  # type: ignore[attr-defined]
    auth.get_token().lower()  # type: ignore[attr-defined]
    get_resource.sync(client=client)  # type: ignore[arg-type]
    LoginForm("fake-login", "fake-password", "refresh")  # type: ignore[arg-type]
    kyc_client.TokenSource()  # type: ignore[attr-defined]
    FakeKYC(3600)  # type: ignore[call-arg]
    FakeKYC().on("GET", "/x", {"id": "42"})  # type: ignore[arg-type]
    FakeKYC().fail_login("LOGIN_BAD_CREDENTIALS")  # type: ignore[arg-type]


async def asynchronous_mistakes(client: AuthenticatedClient, auth: LoginAuth) -> None:
    """A forgotten `await`, and one too many."""
    print(auth.aget_token().value)  # type: ignore[attr-defined]
    await auth.get_token()  # type: ignore[misc]
    await get_resource.sync(client=client)  # type: ignore[misc]
