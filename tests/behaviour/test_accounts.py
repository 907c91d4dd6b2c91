"""Whose credentials, and whose token: accounts beside each other, wrong passwords, and headers of the caller's own."""

from __future__ import annotations

import asyncio
import base64
import json
import threading
from types import SimpleNamespace
from typing import TYPE_CHECKING

import httpx
import pytest

import kyc_client
from kyc_client import Credentials, LoginAuth, connect
from kyc_client.testing._sources import start_over
from kyc_openapi.api.resource import get_resource
from tests.support.clocks import Time
from tests.support.colours import Asyncio, Threads, Trio
from tests.support.fault_server import FaultServer, answer, issue

if TYPE_CHECKING:
    from tests.support.colours import Colour
    from tests.support.fault_server import Behaviour, Exchange

BAD = {"detail": "LOGIN_BAD_CREDENTIALS"}
PASSWORD = "fake-password-for-tests"


def form(exchange: Exchange) -> httpx.QueryParams:
    """What a login sent."""
    return httpx.QueryParams(exchange.body.decode())


def issue_for(place: str) -> Behaviour:
    """A token whose subject is who has logged in, and where."""
    return lambda exchange: issue(sub=f"{form(exchange)['username']} at {place}")(exchange)


def echo_subject(exchange: Exchange) -> None:
    """Answer with the subject of the token that came."""
    assert exchange.token
    payload = exchange.token.split(".")[1]
    subject = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))["sub"]
    exchange.answer(200, {"subject": subject})


def test_accounts_and_servers_do_not_mix() -> None:
    """B10: two accounts on two servers, sync and async at once: each call carries its own account's token."""
    with FaultServer() as staging, FaultServer() as production:
        places = {"staging": staging, "production": production}
        for place, server in places.items():
            server.on_login(issue_for(place))
            server.on_resource(echo_subject)
        auths = {
            (who, place): LoginAuth(server.base_url, credentials=Credentials(who, PASSWORD))
            for who in ("anna", "ben")
            for place, server in places.items()
        }
        kinds: list[Colour] = [Threads(), Asyncio(), Trio()]
        answers: list[tuple[str, str]] = []
        start = threading.Barrier(len(auths) * len(kinds))

        def ask(who: str, place: str, kind: Colour) -> None:
            start.wait(30)
            url = f"{places[place].base_url}/api"
            for response in kind.send_many(5, "GET", url, client={"auth": auths[who, place]}):
                assert isinstance(response, httpx.Response)
                answers.append((response.json()["subject"], f"{who} at {place}"))

        threads = [threading.Thread(target=ask, args=(*account, kind)) for account in auths for kind in kinds]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert len(answers) == 5 * len(threads)
        assert [got for got, _ in answers] == [expected for _, expected in answers]
        assert (staging.login_count, production.login_count) == (2, 2)


def test_one_password_for_two_accounts_is_two_tokens(server: FaultServer, credentials: Credentials) -> None:
    """B10: nothing is kept by address or login: a second LoginAuth for the very same account logs in itself."""
    first, second = (LoginAuth(server.base_url, credentials=credentials) for _ in range(2))
    assert first.get_token() != second.get_token()
    first.reset()
    assert second.get_token() == second.get_token()
    assert server.login_count == 2


# Wrong ones


def test_wrong_password_under_fifty_threads_costs_one_login(server: FaultServer, auth: LoginAuth) -> None:
    """G1: fifty threads, twenty calls each: one login, and a thousand errors that are one object each."""
    server.on_login(answer(400, BAD))
    errors: list[kyc_client.BadCredentialsError] = []
    start = threading.Barrier(50)

    def call() -> None:
        start.wait(30)
        for _ in range(20):
            try:
                auth.get_token()
            except kyc_client.BadCredentialsError as error:
                errors.append(error)

    threads = [threading.Thread(target=call) for _ in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len({id(error) for error in errors}) == 1000
    assert {error.code for error in errors} == {"LOGIN_BAD_CREDENTIALS"}
    assert not any(error.__cause__ or error.__context__ for error in errors)
    # A traceback that grew with each caller would be as long as the calls are many.
    assert max(_depth(error) for error in errors) < 10
    assert server.login_count == 1


def _depth(error: BaseException) -> int:
    depth, traceback = 0, error.__traceback__
    while traceback is not None:
        depth, traceback = depth + 1, traceback.tb_next
    return depth


def test_password_that_is_corrected_in_the_environment_works_within_a_second(
    server: FaultServer, monkeypatch: pytest.MonkeyPatch, colour: Colour
) -> None:
    """G2, E5: the refusal is remembered for the wrong password only. Nobody restarts or resets.

    The credentials may come from a vault, so they are read again once a second, and not for each call.
    """
    server.on_login(
        lambda exchange: (issue() if form(exchange)["password"] == PASSWORD else answer(400, BAD))(exchange)
    )
    monkeypatch.setenv("API_LOGIN", "fake-user")
    monkeypatch.setenv("API_PASSWORD", "fake-password-that-is-wrong")
    auth = LoginAuth(server.base_url)
    time = Time()
    start_over(auth._source, time.clock)
    for cached in (False, True):
        with pytest.raises(kyc_client.BadCredentialsError) as caught:
            colour.token(auth)
        assert caught.value.cached is cached
    monkeypatch.setenv("API_PASSWORD", PASSWORD)
    time.advance(0.9)
    with pytest.raises(kyc_client.BadCredentialsError):
        colour.token(auth)
    assert server.login_count == 1
    time.advance(0.1)
    assert colour.token(auth)
    assert server.login_count == 2


def test_refusals_are_not_shared_between_objects(server: FaultServer, credentials: Credentials) -> None:
    """G2: a refusal is remembered by the object that met it, and by nothing that outlives it."""
    server.on_login(answer(400, BAD))
    for logins in (1, 2):
        with pytest.raises(kyc_client.BadCredentialsError):
            LoginAuth(server.base_url, credentials=credentials).get_token()
        assert server.login_count == logins


# The caller's own


def test_operation_with_a_header_of_the_callers_own(
    server: FaultServer, credentials: Credentials, colour: Colour
) -> None:
    """B8: with_headers() authorizes an operation otherwise: no login, that header alone, and its 401 costs no token."""
    colour.operation(get_resource, connect(server.base_url, credentials=credentials))
    own = {"Authorization": "Bearer callers-own-fake"}
    operation = SimpleNamespace(
        sync=lambda client: get_resource.sync(client=client.with_headers(own)),
        asyncio=lambda client: get_resource.asyncio(client=client.with_headers(own)),
    )
    client = connect(server.base_url, credentials=credentials)
    colour.operation(operation, client)
    assert [exchange.headers["authorization"] for exchange in server.hits[1:]] == ["Bearer callers-own-fake"]
    assert client.login.status().phase == "none"
    assert server.login_count == 1


def test_401_of_a_header_of_the_callers_own_leaves_the_token_alone(
    server: FaultServer, auth: LoginAuth, colour: Colour
) -> None:
    """B8: the same object serves both; the token that is there stays, and the next call uses it."""
    token = colour.token(auth)
    headers = {"Authorization": "Bearer callers-own-fake"}
    response = colour.send("GET", f"{server.base_url}/api", client={"auth": auth}, headers=headers)
    assert response.status_code == 401
    assert colour.token(auth) == token
    assert server.login_count == 1


def test_reset_beside_logins_blocks_nobody(server: FaultServer, auth: LoginAuth, colour: Colour) -> None:
    """B11: reset() again and again while calls log in: every call is answered, and the last token is a good one.

    A login that began before a reset brings no token. So the resets leave time for a login between them.
    """
    ended = threading.Event()

    def reset() -> None:
        while not ended.wait(0.05):
            auth.reset()

    resetter = threading.Thread(target=reset)
    resetter.start()
    try:
        results = [
            colour.send_many(5, "GET", f"{server.base_url}/api", client={"auth": auth, "verify": False})
            for _ in range(5)
        ]
    finally:
        ended.set()
        resetter.join()
    assert {getattr(response, "status_code", response) for each in results for response in each} == {200}
    assert server.accepts(auth.get_token().value)


def test_concurrent_operations_of_one_client_share_its_login(server: FaultServer, credentials: Credentials) -> None:
    """A8: generated operations, sync in threads and async on a loop, on one client at once: one login."""
    client = connect(server.base_url, credentials=credentials)
    start = threading.Barrier(6)
    results: list[object] = []

    def sync() -> None:
        start.wait(30)
        results.append(get_resource.sync(client=client))

    async def main() -> None:
        await asyncio.to_thread(start.wait, 30)
        async with client:
            results.extend(await asyncio.gather(*(get_resource.asyncio(client=client) for _ in range(5))))

    threads = [threading.Thread(target=sync) for _ in range(5)]
    threads.append(threading.Thread(target=lambda: asyncio.run(main())))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    client.get_httpx_client().close()
    assert len(results) == 10
    assert server.login_count == 1
