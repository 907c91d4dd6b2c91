"""Where and how to log in."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx

from kyc_client import _fork
from kyc_client._version import __version__

if TYPE_CHECKING:
    from collections.abc import Callable

    from kyc_client._clock import Clock

    from .connection import Connection
    from .credentials import Credentials
    from .outcome import Failure, Grant
    from .raised import Raised

USER_AGENT = f"kyc-client/{__version__}"
# httpx writes these, by the body.
_BODY_HEADERS = ("Content-Type", "Content-Length", "Transfer-Encoding")
_NOT_SECRET = frozenset({"host", "user-agent"})
# A shorter value is hardly a secret, and to mask it would spoil messages.
_MIN_SECRET_LENGTH = 8


class LoginEndpoint:
    """Where and how to log in.

    Args:
        base_url: the checked base URL.
        timeout: for each connect, read and write of a login.
        connection: how connections are made.
        headers: what a gateway in front of the API wants to see, checked by `gateway.unfit_headers`.

    Attributes:
        secrets: values of these headers that must not get into a message.
    """

    def __init__(
        self, base_url: httpx.URL, timeout: httpx.Timeout, connection: Connection, headers: httpx.Headers | None = None
    ) -> None:
        self.base_url = base_url
        self.timeout = timeout
        self.connection = connection
        self.headers = httpx.Headers(headers)
        self.headers.setdefault("User-Agent", USER_AGENT)
        for name in _BODY_HEADERS:
            self.headers.pop(name, None)
        secrets = [value for name, value in self.headers.multi_items() if name not in _NOT_SECRET]
        self.secrets = [value for value in secrets if len(value) >= _MIN_SECRET_LENGTH]

    def attempt(
        self, credentials: Credentials, *, within: float, clock: Clock, on_open: Callable[[Callable[[], None]], object]
    ) -> Grant | Failure | Raised:
        """Log in once.

        Args:
            credentials: what to log in with.
            within: seconds that are left. No single wait on the network is longer.
            clock: for a `Retry-After` that is a date.
            on_open: receives a function that ends the attempt from another thread, however slowly bytes arrive.
        """
        # The first login loads what only a login needs. Most of it is the generated code, which would cost every
        # import of the library some 10 ms.
        code = _fork.load("kyc_client._login.attempt")
        result: Grant | Failure | Raised = code.attempt(self, credentials, within=within, clock=clock, on_open=on_open)
        return result
