"""`kyc-client check`: find out why the API does not work from here. Each check gives one finding, in this order:

    variables    which variables are set, and which are missing
    base URL     a password may be sent to it, and the trusted certificates can be loaded
    host         DNS knows the host's name, or the proxy's name if the environment has a proxy for the host
    connection   something listens at that host and port
    TLS          the server proves that it is that host
    login        the API gives a token for these credentials
    token        the token's user, and its lifetime by the server's clock
    clock        this machine's clock, compared with the server's

Checks that depend on a failed one are skipped. One request without credentials gives host, connection, TLS and clock.
It uses a client from `connect()`, so it takes the same path as every call. The password is sent only after host,
connection and TLS have succeeded.
"""

from __future__ import annotations

import json
import os
import socket
import ssl
import threading
import time
from typing import TYPE_CHECKING, Any, NamedTuple

import httpx

from kyc_client._auth import LoginAuth
from kyc_client._client import connect
from kyc_client._login.base_url import parse_base_url
from kyc_client._login.credentials import BASE_URL, LOGIN, PASSWORD, Credentials, read_environment
from kyc_client._login.tls import shared_context
from kyc_client._login.wire import read_claims, read_http_date
from kyc_client._token.lease import DATE_LAG
from kyc_client.errors import KYCClientError

from ._exit import Exit, exit_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from kyc_client._token.lease import Token
    from kyc_openapi import AuthenticatedClient

# Seconds. A clock that is wrong by more should be fixed, although the client can handle it.
MAX_OFFSET = 30.0
_MAX_CLAIM = 80

_NAMES = (BASE_URL, LOGIN, f"{LOGIN}_FILE", PASSWORD, f"{PASSWORD}_FILE")
# Other variables that change how the connection is made.
_PROXIES = ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY")
_ALSO = (*_PROXIES, "SSL_CERT_FILE", "SSL_CERT_DIR")
_CERTIFICATES: Mapping[int, str] = {
    # OpenSSL's numbers (X509_V_ERR_...): not yet valid, expired, wrong host name, wrong IP address.
    9: "Check the clock of this machine. If it is right, ask the provider for a certificate that is already valid.",
    10: "Check the clock of this machine. If it is right, the provider must renew the certificate.",
    62: "Check the host in API_BASE_URL: the certificate is for another host.",
    64: "Check the host in API_BASE_URL: the certificate is for another host.",
}
_UNKNOWN_ISSUER = (
    "If this network or the API has its own certificate authority, "
    "set SSL_CERT_FILE to the path of its certificate. Never switch verification off."
)


class Finding(NamedTuple):
    """One line of the report.

    Attributes:
        name: the name of the check.
        text: what the check found.
        status: the exit status for it; None if the check was skipped.
        hint: what the user can do.
    """

    name: str
    text: str
    status: Exit | None = Exit.OK
    hint: str = ""


class Probe:
    """Records each step of one request without credentials, because the request may hang at any step.

    Attributes:
        target: host and port of the connection: the API's or a proxy's.
        addresses: the IP addresses of that host.
        connected: whether the TCP connection was accepted.
        tunnelled: whether the proxy has opened a tunnel to the API.
        tls: the TLS version, and the end of the certificate's validity.
        error: the exception that ended the request; None if it was answered or has not ended.
        began, ended: the wall clock in seconds when the request was sent, and when its answer arrived.
        date: the server's wall clock, read between the two; None if the answer did not give it.
    """

    def __init__(self) -> None:
        self.target: tuple[str, int] | None = None
        self.addresses: list[str] = []
        self.connected = False
        self.tunnelled = False
        self.tls: str | None = None
        self.error: BaseException | None = None
        self.began = self.ended = 0.0
        self.date: float | None = None
        self._over = True
        self._deadline = 0.0
        self._step = threading.Condition()

    def start(self, url: httpx.URL, timeout: float, *, allow_insecure_http: bool) -> None:
        """Send the request in a thread, because a name look-up cannot be interrupted and may take very long.

        Args:
            url: the base URL.
            timeout: seconds for each step on the network.
            allow_insecure_http: as for `connect()`.
        """
        try:
            client = connect(
                url, credentials=Credentials.from_env, timeout=timeout, allow_insecure_http=allow_insecure_http
            )
            client.get_httpx_client()
        except Exception as error:  # noqa: BLE001 - any exception is a finding
            self.error = error
            return
        self._over = False
        # Four steps: name, connection, TLS, answer.
        self._deadline = time.monotonic() + 4 * timeout
        try:
            threading.Thread(target=self._run, args=(client,), name="kyc-client-check", daemon=True).start()
        except RuntimeError:  # An isolated subinterpreter allows no daemon threads.
            self._run(client)

    def wait(self, known: Callable[[], object] = lambda: False) -> None:
        """Wait until `known()` is true, or until the request has ended or its time is over."""
        with self._step:
            self._step.wait_for(lambda: known() or self._over, self._deadline - time.monotonic())

    def _run(self, client: AuthenticatedClient) -> None:
        try:
            with client:
                self._send(client.get_httpx_client())
        except Exception as error:  # noqa: BLE001 - any exception is a finding
            self.error = error
        with self._step:
            self._over = True
            self._step.notify_all()

    def _send(self, client: httpx.Client) -> None:
        headers = {"Cache-Control": "no-cache"}
        with client.stream("GET", "", auth=None, headers=headers, extensions={"trace": self._note}) as response:
            self.ended = time.time()
            # An answer from a cache (it has `Age`) has an old `Date`, so it says nothing about the server's clock.
            if "Age" not in response.headers:
                self.date = read_http_date(response.headers.get("Date", ""))

    def _note(self, event: str, info: Mapping[str, Any]) -> None:
        """Record a step. httpcore calls this at the beginning and at the end of each step."""
        if event.endswith(".connect_tcp.started"):
            self.target = info["host"], info["port"]
            # The connection repeats this look-up. We do it first, so that an unknown host is told from a closed port.
            found = socket.getaddrinfo(*self.target, type=socket.SOCK_STREAM)
            self.addresses = list(dict.fromkeys(str(address[0]) for *_, address in found))
        elif event.endswith(".connect_tcp.complete"):
            self.connected = True
        elif event == "proxy.start_tls.started":
            self.tunnelled = True
        elif event.endswith(".start_tls.complete"):
            self.tls = _agreed(info["return_value"].get_extra_info("ssl_object"))
        elif event.endswith(".send_request_headers.started"):
            self.began = time.time()
        with self._step:
            self._step.notify_all()


def examine(*, timeout: float, allow_insecure_http: bool) -> Iterator[Finding]:
    """Run the checks in order. Each finding is yielded as soon as it is known.

    Args:
        timeout: seconds for each step on the network.
        allow_insecure_http: as for `connect()`.
    """
    variables = _check_variables()
    yield variables
    url, base = _check_base_url(allow_insecure_http=allow_insecure_http)
    yield base
    failed = None if base.status is Exit.OK else _first_failed(base) or variables.name
    _, broken = (None, None) if failed or url.scheme == "http" else shared_context()
    if broken:
        failed = "CA bundle"
        yield Finding(failed, broken, Exit.CONFIGURATION)
    probe = Probe()
    if not failed:
        probe.start(url, timeout, allow_insecure_http=allow_insecure_http)
    for name, check in (("host", _check_host), ("connection", _check_connection), ("TLS", _check_tls)):
        finding = _skipped(name, failed) if failed else check(url, probe)
        failed = failed or _first_failed(finding)
        yield finding
    unanswered, failed = failed, _first_failed(variables) or failed
    offset = 0.0 if probe.date is None else clock_offset(probe.began, probe.ended, probe.date)
    if failed is None:
        yield from _check_login(url, timeout, offset, allow_insecure_http=allow_insecure_http)
    else:
        yield from (_skipped("login", failed), _skipped("token", failed))
    yield _skipped("clock", unanswered) if unanswered and probe.date is None else _check_clock(probe, offset)


def clock_offset(began: float, ended: float, date: float) -> float:
    """Return the smallest number of seconds by which the local clock must be ahead of the server's clock.

    The result is negative if the local clock is behind, and 0 if the two may agree. The server wrote its `Date` at some
    moment between the two local times. `Date` is cut to whole seconds and lags, so the server's clock was between
    `date` and `date + DATE_LAG`.

    Args:
        began: the local wall clock, in seconds, when the request was sent.
        ended: the local wall clock, in seconds, when the answer arrived.
        date: the server's `Date`, in seconds.
    """
    return max(began - (date + DATE_LAG), 0.0) or min(ended - date, 0.0)


def _check_variables() -> Finding:
    found = ", ".join(name for name in _NAMES if name in os.environ) or "none of the API's is set"
    also = ", ".join(_named(_ALSO))
    # Keep the problems only: the values hold the password, and must not reach the report.
    problems = read_environment(os.environ, BASE_URL, LOGIN, PASSWORD)[1]
    text = f"{found}; also {also}" if also else found
    if problems is None:
        return Finding("variables", text)
    first, *rest = [line.removeprefix("  - ") for line in problems.splitlines()[1:]]
    return Finding("variables", first, Exit.CONFIGURATION, "\n".join([*rest, f"Found: {text}"]))


def _check_base_url(*, allow_insecure_http: bool) -> tuple[httpx.URL, Finding]:
    values, missing = read_environment(os.environ, BASE_URL)
    if missing:
        return httpx.URL(), _skipped("base URL", "variables")
    url, problem = parse_base_url(values[BASE_URL], allow_insecure_http=allow_insecure_http)
    if problem:
        return url, Finding("base URL", problem, Exit.CONFIGURATION)
    return url, Finding("base URL", str(url).rstrip("/"))


def _check_host(url: httpx.URL, probe: Probe) -> Finding:
    probe.wait(lambda: probe.addresses)
    error = probe.error
    if probe.target is None:
        if error is None:
            return Finding("host", "no connection was started in time", Exit.UNAVAILABLE, "Use a longer --timeout.")
        unexpected = f"the connection cannot be prepared ({type(error).__name__})"
        what, *hints = (str(error) if isinstance(error, KYCClientError) else unexpected).splitlines()
        return Finding("host", what, Exit.CONFIGURATION, "\n".join(hints))
    host, _ = probe.target
    own = _is_own(url, probe)
    what = host if own else f"{host}, a proxy from the environment,"
    if probe.addresses:
        found = what if probe.addresses == [host] else f"{what} is {', '.join(probe.addresses)}"
        return Finding("host", found.removesuffix(","))
    hint = "Check the host in API_BASE_URL" if own else "Check HTTPS_PROXY"
    return Finding(
        "host", f"{what} is not known ({_reason(error)})", Exit.HOST_UNKNOWN, f"{hint}, and the name service (DNS)."
    )


def _check_connection(url: httpx.URL, probe: Probe) -> Finding:
    own = _is_own(url, probe)
    probe.wait(lambda: probe.connected if own else probe.tunnelled)
    error = probe.error
    port = f"port {probe.target[1]}" if probe.target else ""
    if isinstance(error, httpx.ProxyError):
        hint = "Ask the proxy's operator whether it may connect to the API."
        return Finding("connection", f"the proxy on {port} refuses: {error}", Exit.UNAVAILABLE, hint)
    if probe.connected and (own or probe.tunnelled or url.scheme == "http"):
        return Finding("connection", f"{port} is open")
    what = f"{port} cannot be reached"
    hint = "Check the port in API_BASE_URL and the firewall. If they are right, the API is down: try again later."
    if not own:
        hint = "Check HTTPS_PROXY, or ask the proxy's operator."
        if probe.connected:
            what = f"the proxy on {port} opens no tunnel to the API"
    return Finding("connection", f"{what} ({_reason(error)})", Exit.UNAVAILABLE, hint)


def _check_tls(url: httpx.URL, probe: Probe) -> Finding:
    probe.wait()
    if url.scheme == "http":
        return Finding("TLS", "not used, because the base URL is http://", None)
    errors = [cause for cause in _causes(probe.error) if isinstance(cause, ssl.SSLError)]
    broken = [cause for cause in errors if not isinstance(cause, ssl.SSLEOFError)]
    if probe.tls is not None and not broken:
        return Finding("TLS", probe.tls)
    hint = "Check the scheme and port of API_BASE_URL: the server may not use TLS, or may ask for a client certificate."
    if not broken:
        # The connection was closed without a TLS alert. A load balancer does this if the API behind it is down.
        hint = f"The API may be down: try again later. {hint}"
        return Finding("TLS", f"was not answered ({_reason(probe.error)})", Exit.UNAVAILABLE, hint)
    unverified = next((cause for cause in broken if isinstance(cause, ssl.SSLCertVerificationError)), None)
    if unverified is not None:
        hint = _CERTIFICATES.get(unverified.verify_code, _UNKNOWN_ISSUER)
    return Finding("TLS", f"failed ({_reason(probe.error)}); the password was not sent", Exit.TLS, hint)


def _check_login(url: httpx.URL, timeout: float, offset: float, *, allow_insecure_http: bool) -> Iterator[Finding]:
    """Yield the findings about the login and its token."""
    began = time.monotonic()
    try:
        token = LoginAuth(url, timeout=timeout, allow_insecure_http=allow_insecure_http).get_token()
    except KYCClientError as error:
        yield Finding("login", str(error), exit_for(error))
        yield _skipped("token", "login")
        return
    yield Finding("login", f"accepted within {time.monotonic() - began:.2f} s")
    yield _check_token(token, offset)


def _check_token(token: Token, offset: float) -> Finding:
    claims = read_claims(token.value)
    whose = "".join(f"{name} {_brief(claims[name])}, " for name in ("sub", "aud") if name in claims)
    if token.expires_at is None:
        return Finding("token", f"{whose}without a readable expiry: it is used until the API answers 401")
    left = token.expires_at.timestamp() - time.time()
    when = f"at {token.expires_at:%Y-%m-%d %H:%M:%S} UTC"
    if max(left, left + offset) <= 0:
        hint = (
            "It had expired on arrival: ask the provider whether its servers agree on the time. "
            "The client uses it until the API answers 401."
        )
        return Finding("token", f"{whose}expired {when}", Exit.UNUSABLE, hint)
    if left + offset <= 0:
        return Finding("token", f"{whose}expires {when}, which is past by the server's clock")
    return Finding("token", f"{whose}expires in {_span(left + offset)}, {when}")


def _check_clock(probe: Probe, offset: float) -> Finding:
    if probe.date is None:
        return Finding("clock", "not checked: the answer did not give the server's time", None)
    if abs(offset) < 1:
        return Finding("clock", "agrees with the server's")
    what = f"{_span(abs(offset))} {'ahead of' if offset > 0 else 'behind'} the server's"
    if abs(offset) <= MAX_OFFSET:
        return Finding("clock", f"{what}, which is harmless")
    hint = (
        "Set the clock of this machine (NTP). Calls still work, because the client counts a token's lifetime by the "
        "server's clock. Certificate checks and log times need the right time."
    )
    return Finding("clock", what, Exit.CLOCK, hint)


def _named(names: tuple[str, ...]) -> list[str]:
    """Return which of these variables are set, in upper or lower case."""
    return [name for upper in names for name in (upper, upper.lower()) if name in os.environ]


def _skipped(name: str, failed: str) -> Finding:
    return Finding(name, f"not checked: see {failed}", None)


def _first_failed(*findings: Finding) -> str | None:
    return next((finding.name for finding in findings if finding.status), None)


def _is_own(url: httpx.URL, probe: Probe) -> bool:
    """Return whether the connection goes to the API itself and not to a proxy."""
    return probe.target == (url.raw_host.decode("ascii"), url.port or (443 if url.scheme == "https" else 80))


def _agreed(connection: Any) -> str:
    """Return the TLS version and the end of the certificate's validity."""
    return f"{connection.version()}, certificate valid until {connection.getpeercert()['notAfter']}"


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _reason(error: BaseException | None) -> str:
    """Return the system's own message, without the numbers and file names that libraries add."""
    # Take the first OSError. The last cause may be an unrelated exception that was being handled at the time.
    first = next((cause for cause in _causes(error) if isinstance(cause, OSError)), error)
    if first is None or isinstance(first, (TimeoutError, httpx.TimeoutException)):
        return "no answer in time"
    if isinstance(first, ssl.SSLCertVerificationError):
        return first.verify_message
    if isinstance(first, ssl.SSLError):
        return first.reason or type(first).__name__
    return (first.strerror if isinstance(first, OSError) else None) or str(first) or type(first).__name__


def _brief(claim: object) -> str:
    """Return a claim as one short line for a terminal. JSON escapes what is not printable."""
    text = json.dumps(claim)
    return text if len(text) <= _MAX_CLAIM else f"{text[:_MAX_CLAIM]}..."


def _span(seconds: float) -> str:
    """Return a length of time in the largest unit that gives a number of at least 2."""
    units = (("days", 86_400), ("h", 3600), ("min", 60))
    name, length = next(((name, length) for name, length in units if seconds >= 2 * length), ("s", 1))
    return f"{seconds / length:.0f} {name}"
