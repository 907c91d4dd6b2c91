"""Prometheus metrics of the login, from `on_event`. Copy what you need.

It needs `pip install prometheus-client`. To try it, run `kyc-client sandbox` in another shell and paste what it prints
into this one.
"""

from prometheus_client import Counter, Gauge, Histogram, generate_latest

import kyc_client
from kyc_client.events import Event, LoginFailed, LoginSucceeded, TokenRejected
from kyc_openapi.api.resource import get_resource

LOGINS = Counter("kyc_logins", "Logins at the KYC API, by their reason and outcome.", ["reason", "outcome"])
SECONDS = Histogram("kyc_login_seconds", "How long a login took, with all of its attempts.", ["reason"])
REJECTED = Counter("kyc_tokens_rejected", "Tokens that the API refused with 401 before they expired.")
EXPIRES = Gauge("kyc_token_expires_timestamp_seconds", "When the current token expires. 0 if it does not say.")


def count(event: Event) -> None:
    """Count one event. This runs in the thread in which the event happens, so it only counts."""
    match event:
        case LoginSucceeded(reason=reason, seconds=seconds, expires_at=expires_at):
            LOGINS.labels(reason, "success").inc()
            SECONDS.labels(reason).observe(seconds)
            EXPIRES.set(expires_at.timestamp() if expires_at else 0)
        case LoginFailed(reason=reason, seconds=seconds, error=error):
            LOGINS.labels(reason, error.__name__).inc()
            SECONDS.labels(reason).observe(seconds)
        case TokenRejected():
            REJECTED.inc()


def main() -> None:
    """Make a call, and show what Prometheus would get."""
    with kyc_client.connect(on_event=count) as client:
        get_resource.sync(client=client)
    print(generate_latest().decode())


if __name__ == "__main__":
    main()
