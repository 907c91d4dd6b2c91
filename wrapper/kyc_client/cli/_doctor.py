"""`kyc-client check`: what stands between this machine and the API, as findings, one after the other.

A finding that depends on one that failed is skipped. What is found:

    variables    the variables that are there, and those that lack
    base URL     it is fit to receive a password, and the certificates to trust can be loaded
    host         its name is known (or that of the proxy, if the environment has one for it)
    connection   something listens there
    TLS          the server proves that it is that host
    login        it gives a token for these credentials
    token        whose it is, and how long it lives by the server's clock
    clock        this machine's, against the server's

Host, connection, TLS and clock are what one request without any credentials meets on its way. It goes through a client
of `connect()`, and so takes the same way as every call. The password is sent only once all of that has gone well.
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
from kyc_client._login.wire import DATE_LAG, read_claims, read_http_date
from kyc_client.errors import KYCClientError

from ._exit import Exit, exit_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from kyc_client._token.lease import Token
    from kyc_openapi import AuthenticatedClient

# A clock that is wrong by more is worth mending, although the client copes with it.
MAX_OFFSET = 30.0
_MAX_CLAIM = 80

_NAMES = (BASE_URL, LOGIN, f"{LOGIN}_FILE", PASSWORD, f"{PASSWORD}_FILE")
# What else of the environment has a say in how the connection is made.
_PROXIES = ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY")
_ALSO = (*_PROXIES, "SSL_CERT_FILE", "SSL_CERT_DIR")
_CERTIFICATES: Mapping[int, str] = {
    # OpenSSL's own numbers, X509_V_ERR_….
    9: "Check the clock of this machine; if it is right, ask the provider for a certificate that is valid already.",
    10: "Check the clock of this machine; if it is right, the provider has to renew the certificate.",
    62: "Check the host in API_BASE_URL: the certificate is for another one.",
    64: "Check the host in API_BASE_URL: the certificate is for another one.",
}
_UNKNOWN_ISSUER = (
    "If this network, or the API, has a certificate authority of its own, "
    "set SSL_CERT_FILE to the path of its certificate. Never switch verification off."
)


class Finding(NamedTuple):
    """One line of the report.

    Attributes:
        name: what was looked at.
        text: what was found.
        status: the exit status that it stands for; None if it was skipped.
        hint: what to do.
    """

    name: str
    text: str
    status: Exit | None = Exit.OK
    hint: str = ""


class Probe:
    """What a request without credentials met on its way, noted step by step, since it may get stuck at any of them.

    Attributes:
        target: the host and port that were to be connected to: the API's, or a proxy's.
        addresses: what the name of that host stands for.
        connected: whether something there took the connection.
        tunnelled: whether a proxy there has opened the way to the API.
        tls: what was agreed on, and until when the certificate is valid.
        error: what the request ended with; None if with an answer, or if it has not ended.
        began, ended: the wall clock when the request was sent, and when its answer was there.
        date: the server's clock in between; None if it did not tell.
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
        """Send the request, in a thread: a look-up of a name cannot be interrupted, and may take very long."""
        try:
            client = connect(
                url, credentials=Credentials.from_env, timeout=timeout, allow_insecure_http=allow_insecure_http
            )
            client.get_httpx_client()
        except Exception as error:  # noqa: BLE001 - whatever it is, it is what was found
            self.error = error
            return
        self._over = False
        # Name, connection, TLS and answer.
        self._deadline = time.monotonic() + 4 * timeout
        threading.Thread(target=self._run, args=(client,), name="kyc-client-check", daemon=True).start()

    def wait(self, known: Callable[[], object] = lambda: False) -> None:
        """Wait until something is known, or nothing more will be."""
        with self._step:
            self._step.wait_for(lambda: known() or self._over, self._deadline - time.monotonic())

    def _run(self, client: AuthenticatedClient) -> None:
        try:
            with client:
                self._send(client.get_httpx_client())
        except Exception as error:  # noqa: BLE001 - whatever it is, it is what was found
            self.error = error
        with self._step:
            self._over = True
            self._step.notify_all()

    def _send(self, client: httpx.Client) -> None:
        headers = {"Cache-Control": "no-cache"}
        with client.stream("GET", "", auth=None, headers=headers, extensions={"trace": self._note}) as response:
            self.ended = time.time()
            # An answer out of a cache has the `Date` of when it was put there.
            if "Age" not in response.headers:
                self.date = read_http_date(response.headers.get("Date", ""))

    def _note(self, event: str, info: Mapping[str, Any]) -> None:
        """Take note of a step; httpcore calls this at the beginning and the end of each."""
        if event.endswith(".connect_tcp.started"):
            self.target = info["host"], info["port"]
            # The same look-up again as the connection will do, to tell the two apart.
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
    """Look at one thing after the other; each finding comes as soon as it is known.

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
    """The least by which the local clock must be ahead of the server's, in seconds; below 0: behind; 0: they may agree.

    The server wrote its `Date` at some moment between the two local times. It is cut to whole seconds and lags, so that
    the server's clock was between it and `DATE_LAG` later.

    Args:
        began: the local clock when the request was sent.
        ended: the local clock when the answer was there.
        date: the server's `Date`.
    """
    return max(began - (date + DATE_LAG), 0.0) or min(ended - date, 0.0)


def _check_variables() -> Finding:
    found = ", ".join(name for name in _NAMES if name in os.environ) or "none of the API's is set"
    also = ", ".join(_named(_ALSO))
    # Only the problems are kept: the values are nobody's business here.
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
            return Finding("host", "no connection was begun in time", Exit.UNAVAILABLE, "Give it a longer --timeout.")
        unexpected = f"the connection cannot be prepared ({type(error).__name__})"
        what, *hints = (str(error) if isinstance(error, KYCClientError) else unexpected).splitlines()
        return Finding("host", what, Exit.CONFIGURATION, "\n".join(hints))
    host, _ = probe.target
    own = _is_own(url, probe)
    what = host if own else f"{host}, a proxy that the environment names,"
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
        hint = "Ask whoever runs the proxy whether it may connect to the API."
        return Finding("connection", f"the proxy on {port} refuses: {error}", Exit.UNAVAILABLE, hint)
    if probe.connected and (own or probe.tunnelled or url.scheme == "http"):
        return Finding("connection", f"{port} is open")
    what = f"{port} cannot be reached"
    hint = "Check the port in API_BASE_URL and the firewall; if they are right, the API is down: try again later."
    if not own:
        hint = "Check HTTPS_PROXY, or ask whoever runs the proxy."
        if probe.connected:
            what = f"the proxy on {port} opens no way to the API"
    return Finding("connection", f"{what} ({_reason(error)})", Exit.UNAVAILABLE, hint)


def _check_tls(url: httpx.URL, probe: Probe) -> Finding:
    probe.wait()
    if url.scheme == "http":
        return Finding("TLS", "not used, since the base URL is http://", None)
    errors = [cause for cause in _causes(probe.error) if isinstance(cause, ssl.SSLError)]
    broken = [cause for cause in errors if not isinstance(cause, ssl.SSLEOFError)]
    if probe.tls is not None and not broken:
        return Finding("TLS", probe.tls)
    hint = "Check the scheme and port of API_BASE_URL: what listens there may speak no TLS, or want a certificate."
    if not broken:
        # Nothing was said, as by something in front of an API that is down.
        hint = f"The API may be down: try again later. {hint}"
        return Finding("TLS", f"was not answered ({_reason(probe.error)})", Exit.UNAVAILABLE, hint)
    unverified = next((cause for cause in broken if isinstance(cause, ssl.SSLCertVerificationError)), None)
    if unverified is not None:
        hint = _CERTIFICATES.get(unverified.verify_code, _UNKNOWN_ISSUER)
    return Finding("TLS", f"failed ({_reason(probe.error)}); the password was not sent", Exit.TLS, hint)


def _check_login(url: httpx.URL, timeout: float, offset: float, *, allow_insecure_http: bool) -> Iterator[Finding]:
    """Login and token."""
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
            "It had expired on arrival: ask the provider whether its servers agree on the time. It is used until a 401."
        )
        return Finding("token", f"{whose}expired {when}", Exit.UNUSABLE, hint)
    if left + offset <= 0:
        return Finding("token", f"{whose}expires {when}, which is past by the server's clock")
    return Finding("token", f"{whose}expires in {_span(left + offset)}, {when}")


def _check_clock(probe: Probe, offset: float) -> Finding:
    if probe.date is None:
        return Finding("clock", "not checked: the answer did not tell the server's time", None)
    if abs(offset) < 1:
        return Finding("clock", "agrees with the server's")
    what = f"{_span(abs(offset))} {'ahead of' if offset > 0 else 'behind'} the server's"
    if abs(offset) <= MAX_OFFSET:
        return Finding("clock", f"{what}, which does no harm")
    hint = (
        "Set the clock of this machine (NTP). The client itself copes, since it counts the life of a token by the "
        "server's clock; certificates and logs do not."
    )
    return Finding("clock", what, Exit.CLOCK, hint)


def _named(names: tuple[str, ...]) -> list[str]:
    """Which of these variables are set, in either case."""
    return [name for upper in names for name in (upper, upper.lower()) if name in os.environ]


def _skipped(name: str, failed: str) -> Finding:
    return Finding(name, f"not checked: see {failed}", None)


def _first_failed(*findings: Finding) -> str | None:
    return next((finding.name for finding in findings if finding.status), None)


def _is_own(url: httpx.URL, probe: Probe) -> bool:
    """Whether it was the API that was to be connected to, and not a proxy."""
    return probe.target == (url.raw_host.decode("ascii"), url.port or (443 if url.scheme == "https" else 80))


def _agreed(connection: Any) -> str:
    """The TLS version, and until when the certificate is valid."""
    return f"{connection.version()}, certificate valid until {connection.getpeercert()['notAfter']}"


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _reason(error: BaseException | None) -> str:
    """What the system says, without the numbers and files that libraries put around it."""
    # Not the last of the causes, which may be something that was only being handled meanwhile.
    first = next((cause for cause in _causes(error) if isinstance(cause, OSError)), error)
    if first is None or isinstance(first, (TimeoutError, httpx.TimeoutException)):
        return "no answer in time"
    if isinstance(first, ssl.SSLCertVerificationError):
        return first.verify_message
    if isinstance(first, ssl.SSLError):
        return first.reason or type(first).__name__
    return (first.strerror if isinstance(first, OSError) else None) or str(first) or type(first).__name__


def _brief(claim: object) -> str:
    """A claim, fit for a line of a terminal: printable, since JSON escapes what is not, and short."""
    text = json.dumps(claim)
    return text if len(text) <= _MAX_CLAIM else f"{text[:_MAX_CLAIM]}..."


def _span(seconds: float) -> str:
    """A length of time, in the largest unit of which there are at least two."""
    units = (("days", 86_400), ("h", 3600), ("min", 60))
    name, length = next(((name, length) for name, length in units if seconds >= 2 * length), ("s", 1))
    return f"{seconds / length:.0f} {name}"
