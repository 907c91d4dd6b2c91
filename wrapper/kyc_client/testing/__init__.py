"""A fake of the API for the tests of services. It needs no installation, no server of yours and no waiting.

With pytest, ask for the fixture `fake_kyc`. Your service's code does not change:

    def test_service(fake_kyc):
        fake_kyc.on("GET", "/api/v1/applicants/{id}", json={"name": "A. N. Example"})
        assert my_service.applicant_name("42") == "A. N. Example"
        assert fake_kyc.logins == 1

What is real, and what is simulated:

    address         The fixture serves on 127.0.0.1 over a socket, and sets the environment variables. So
                    `kyc_client.connect()` finds it anywhere in the service, without patches. So do `LoginAuth` on an
                    httpx client, other HTTP libraries and child processes. The port stays the same for the whole pytest
                    session, so a client that a module creates once works in every test. Bodies, pools and timeouts are
                    real.
    in memory       `transport` is the same fake without a socket, for sync and async httpx clients. A request's body is
                    read once, so a body that cannot be sent twice fails as it fails on a connection. An answer is a
                    stream. A slow answer runs into the client's read timeout. Pools, proxies, TLS, connect timeouts and
                    other hosts are missing.
    login           It answers like the API: to wrong credentials, to empty fields, and with every status that you set.
                    Tokens look like the API's, but their signature proves nothing. No two of them are the same. The
                    API's may be.
    time            The fake's clock stands still until `advance()` or `expire()` moves it, except for one microsecond
                    at each reading. Inside `control_time()`, which the fixture enters, every `LoginAuth` of this
                    process uses this clock. So tokens expire, cool-downs end and refusals are forgotten when the test
                    says so. A pause between two attempts of a login takes no real time, moves the clock, and has no
                    jitter. Only what makes the service itself wait is real: `slow_login()` and `delay` take their
                    seconds. A client with another clock, such as one in a child process, learns from a 401 that its
                    token has expired.

Without pytest, use `with fake.serve(), fake.control_time():` and set the variables in `fake.environ`.
"""

from ._fake import FakeKYC
from ._routes import Call, Handler, Route

__all__ = ["Call", "FakeKYC", "Handler", "Route"]
