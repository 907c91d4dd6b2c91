"""OpenTelemetry traces of calls and logins, with `opentelemetry-instrumentation-httpx`. Copy what you need.

It needs `pip install opentelemetry-sdk opentelemetry-instrumentation-httpx`. To try it, run `kyc-client sandbox` in
another shell and paste what it prints into this one.
"""

import os

from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor
from opentelemetry.util.http import OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SANITIZE_FIELDS

import kyc_client
from kyc_openapi.api.resource import get_resource


def instrument(provider: TracerProvider) -> None:
    """Trace what every httpx client of this process sends: a span for each call, and one for each login.

    A span has the method, the URL and the status, and no body. It has headers only if somebody asks for them
    (`OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_CLIENT_REQUEST`). It then has the token too, unless a setting like the
    one here leaves it out.
    """
    os.environ.setdefault(OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SANITIZE_FIELDS, "authorization,cookie,set-cookie")
    HTTPXClientInstrumentor().instrument(tracer_provider=provider)


def main() -> None:
    """Make a call inside a span of our own, and print all spans."""
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(ConsoleSpanExporter()))
    instrument(provider)
    with provider.get_tracer("example").start_as_current_span("check a customer"), kyc_client.connect() as client:
        get_resource.sync(client=client)


if __name__ == "__main__":
    main()
