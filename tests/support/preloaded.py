"""A service that gunicorn preloads in a test. It uses a client of the module before the workers are forked."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import kyc_client
from kyc_openapi.api.resource import get_resource

if TYPE_CHECKING:
    from collections.abc import Callable

client = kyc_client.connect()
get_resource.sync(client=client)


def app(environ: dict[str, Any], start_response: Callable[[str, list[tuple[str, str]]], object]) -> list[bytes]:
    """Call the API with the same path, and answer with the worker's process id and the path."""
    path = client.get_httpx_client().get(environ["PATH_INFO"]).json()["path"]
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{os.getpid()} {path}".encode()]
