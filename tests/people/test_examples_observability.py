"""The examples of metrics and traces show what happens, and no secret."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from prometheus_client import REGISTRY

from kyc_client.errors import BadCredentialsError
from kyc_client.events import LoginFailed, LoginStarted, LoginSucceeded, TokenRejected
from tests.support.examples import EXAMPLES, PATIENCE, loaded, run

if TYPE_CHECKING:
    from kyc_client.sandbox import Sandbox

# Runs the example's `instrument()` with an exporter in memory, through a login, a call, a revocation, a refused login
# and an async call; prints everything that the spans hold, and the secrets that they must not hold.
TRACED = """
import asyncio, json, sys
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
import kyc_client, tracing
from kyc_client.sandbox import Sandbox
from kyc_openapi.api.resource import get_resource

exporter, provider = InMemorySpanExporter(), TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(exporter))
tracing.instrument(provider)
secrets = []

async def call(client):
    async with client:
        await get_resource.asyncio(client=client)

with Sandbox() as sandbox:
    login = dict(base_url=sandbox.base_url, credentials=sandbox.active)
    secrets.append(sandbox.active.password)
    with kyc_client.connect(**login) as client:
        auth = client.get_httpx_client().auth
        get_resource.sync(client=client)
        secrets.append(auth.get_token().value)
        sandbox.revoke_all()
        get_resource.sync(client=client)
        secrets.append(auth.get_token().value)
    asyncio.run(call(kyc_client.connect(**login)))
    wrong = kyc_client.Credentials(sandbox.active.username, "fake-and-wrong-password")
    secrets.append(wrong.password)
    try:
        kyc_client.LoginAuth(sandbox.base_url, credentials=wrong).get_token()
    except kyc_client.BadCredentialsError:
        pass
try:
    kyc_client.LoginAuth(**login).get_token()
except kyc_client.LoginUnavailableError:
    pass
spans = [json.loads(span.to_json()) for span in exporter.get_finished_spans()]
json.dump({"secrets": secrets, "spans": spans}, sys.stdout)
"""


def test_no_secret_in_a_span() -> None:
    """Spans of calls and logins, good and bad, hold no password and no token, even when all headers are captured."""
    result = subprocess.run(  # noqa: S603 - this interpreter, on what stands above
        [sys.executable, "-W", "error", "-c", TRACED],
        env={
            **os.environ,
            "PYTHONPATH": str(EXAMPLES),
            "OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_CLIENT_REQUEST": ".*",
            "OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_CLIENT_RESPONSE": ".*",
        },
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    output = json.loads(result.stdout)
    spans, secrets = output["spans"], output["secrets"]
    assert len(secrets) == 4
    paths = [span["attributes"]["http.url"].rpartition("/")[2] for span in spans]
    assert paths[:5] == ["login", "resource", "resource", "login", "resource"]
    statuses = [span["attributes"].get("http.status_code") for span in spans]
    assert 400 in statuses
    assert None in statuses
    for secret in secrets:
        assert secret not in json.dumps(spans)
    assert spans[1]["attributes"]["http.request.header.authorization"] == ["[REDACTED]"]


def test_tracing(sandbox: Sandbox) -> None:
    """The example prints three spans: the call inside of our own, and the login, which belongs to no call."""
    result = run("tracing", **sandbox.environ)
    assert (result.returncode, result.stderr) == (0, "")
    text, spans = result.stdout, []
    while text.strip():
        span, end = json.JSONDecoder().raw_decode(text)
        spans.append(span)
        text = text[end:].lstrip()
    login, call, ours = spans
    assert login["attributes"]["http.url"].endswith("/auth/jwt/login")
    assert login["parent_id"] is None
    assert call["attributes"]["http.url"].endswith("/api/v1/resource")
    assert call["parent_id"] == ours["context"]["span_id"]
    # Nothing was asked for beyond these, so that there is no header in them.
    assert {name for span in (login, call) for name in span["attributes"]} == {
        "http.method",
        "http.url",
        "http.status_code",
    }


def test_metrics(sandbox: Sandbox) -> None:
    """One call is one login in the metrics, which say when the token expires."""
    result = run("metrics", **sandbox.environ)
    assert (result.returncode, result.stderr) == (0, "")
    assert 'kyc_logins_total{outcome="success",reason="cold"} 1.0' in result.stdout
    assert 'kyc_login_seconds_count{reason="cold"} 1.0' in result.stdout
    assert "kyc_tokens_rejected_total 0.0" in result.stdout
    assert sandbox.login_count == 1


def test_metrics_of_each_event() -> None:
    """Each event counts where it belongs, a failure under the name of its error."""
    count = loaded("metrics").count
    url = "https://kyc.example.com"
    count(LoginStarted(url, "cold"))
    count(LoginFailed(url, "cold", 0.5, BadCredentialsError, 400, 60.0))
    count(LoginSucceeded(url, "renewal", 0.5, datetime.fromtimestamp(2e9, UTC)))
    count(TokenRejected(url))
    value = REGISTRY.get_sample_value
    assert value("kyc_logins_total", {"reason": "cold", "outcome": "BadCredentialsError"}) == 1
    assert value("kyc_logins_total", {"reason": "renewal", "outcome": "success"}) == 1
    assert value("kyc_login_seconds_sum", {"reason": "cold"}) == 0.5
    assert value("kyc_tokens_rejected_total") == 1
    assert value("kyc_token_expires_timestamp_seconds") == 2e9
    count(LoginSucceeded(url, "rejected", 0.5, None))
    assert value("kyc_token_expires_timestamp_seconds") == 0
