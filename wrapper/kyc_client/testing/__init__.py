"""A fake of the API for the tests of services: nothing to install, no server to run, no second to wait.

With pytest, ask for the fixture `fake_kyc`; the service under test is left as it is:

    def test_service(fake_kyc):
        fake_kyc.on("GET", "/api/v1/applicants/{id}", json={"name": "A. N. Example"})
        assert my_service.applicant_name("42") == "A. N. Example"
        assert fake_kyc.logins == 1

What is real, and what is simulated:

    the address     The fixture serves on 127.0.0.1, over a socket, and sets the environment. So `kyc_client.connect()`
                    anywhere in the service finds it with nothing patched, as do `LoginAuth` on an httpx client, other
                    HTTP libraries and child processes. Its port stays the same for the whole pytest session, so a
                    client that a module has made once works in every test. Bodies, pools and timeouts are real.
    in memory       `transport` is the same fake without a socket, for sync and async httpx clients. Bodies are consumed
                    as they are sent, so what cannot be sent twice fails as it does on a connection; answers are
                    streams; a slow answer runs into the client's read timeout. Pools, proxies, TLS, connection
                    timeouts and other hosts are not there.
    the login       As the API's: wrong credentials, empty fields, and every status that you ask for. Tokens look like
                    the API's, and are signed by nobody. Unlike the API's, no two of them are the same.
    time            The fake's clock stands still, but for a microsecond at each look, until `advance()` or `expire()`
                    moves it. Inside of `control_time()` (the fixture does that) it is the clock of every `LoginAuth` in
                    this process too: tokens expire, cool-downs end and refusals are forgotten when the test says so. A
                    pause between two attempts of a login takes no time, but moves the clock, and jitter is none. Only
                    what is about the service's own waiting is real: `slow_login()` and `delay` take their seconds. A
                    client with a clock of its own (one in a child process) learns of an expired token by a 401.

Without pytest, `with fake.serve(), fake.control_time():` and `fake.environ` do what the fixture does.
"""

from ._fake import Call, FakeKYC, Handler, Route

__all__ = ["Call", "FakeKYC", "Handler", "Route"]
