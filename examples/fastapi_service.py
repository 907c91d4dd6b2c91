"""A FastAPI service that keeps one client for as long as it runs. Copy what you need.

It needs `pip install fastapi uvicorn`. Run `kyc-client sandbox` in another shell, paste what it prints into this one,
and then (on another port than the sandbox, which has uvicorn's usual 8000):

    uvicorn --app-dir examples --port 8080 fastapi_service:app
    curl http://127.0.0.1:8080/resource
"""

import logging
import math
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Annotated, TypedDict

import httpx
from fastapi import Depends, FastAPI, Request
from fastapi.responses import JSONResponse

import kyc_client
from kyc_openapi import AuthenticatedClient
from kyc_openapi.api.resource import get_resource
from kyc_openapi.errors import UnexpectedStatus
from kyc_openapi.models import Resource

log = logging.getLogger(__name__)
# uvicorn sets up its own loggers only. Without this line, the warnings of `kyc_client` (why there is no login, and when
# the next is tried) would reach nobody.
logging.basicConfig()


class State(TypedDict):
    """What each request finds in its `state`."""

    kyc: AuthenticatedClient


@asynccontextmanager
async def lifespan(_app: FastAPI) -> AsyncGenerator[State]:
    """Connect at the start and disconnect at the end. Where a variable is missing, the service does not start."""
    async with kyc_client.connect() as client:
        yield {"kyc": client}


def kyc(request: Request) -> AuthenticatedClient:
    """The client, for `Depends`."""
    client: AuthenticatedClient = request.state.kyc
    return client


app = FastAPI(lifespan=lifespan)


@app.get("/resource")
async def resource(client: Annotated[AuthenticatedClient, Depends(kyc)]) -> JSONResponse:
    """Hand on what the API says."""
    answer = await get_resource.asyncio(client=client)
    if isinstance(answer, Resource):
        return JSONResponse(answer.to_dict())
    return problem("The KYC API does not accept our token.")


@app.exception_handler(kyc_client.LoginUnavailableError)
async def try_again(_request: Request, error: kyc_client.LoginUnavailableError) -> JSONResponse:
    """Tell our own caller when it is worth trying again; why, the log of `kyc_client` says, once for each login."""
    return problem("The KYC API is not available.", 503, {"Retry-After": str(math.ceil(error.retry_after or 1))})


@app.exception_handler(kyc_client.LoginError)
async def no_login(_request: Request, error: kyc_client.LoginError) -> JSONResponse:
    """Our caller cannot mend this, so the log tells us what to do: once, and not at each call until that is done."""
    if not error.cached:
        log.error("%s", error)
    return problem("The KYC API does not let us in.")


@app.exception_handler(UnexpectedStatus)
@app.exception_handler(httpx.TransportError)
async def failed(_request: Request, error: Exception) -> JSONResponse:
    """The login is fine, the call itself failed."""
    log.warning("%s: %s", type(error).__name__, error)
    return problem("The KYC API does not answer as it should.")


def problem(detail: str, status: int = 502, headers: dict[str, str] | None = None) -> JSONResponse:
    """An error for our caller: the gateway works, what is behind it does not."""
    return JSONResponse({"detail": detail}, status, headers)
