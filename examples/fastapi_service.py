"""A FastAPI service that keeps one client while it runs. Copy what you need.

It needs `pip install fastapi uvicorn`. Run `kyc-client sandbox` in another shell, and paste what it prints into this
one. Then start the service, on another port than the sandbox, which has uvicorn's usual 8000:

    uvicorn --app-dir examples --port 8080 fastapi_service:app
    curl http://127.0.0.1:8080/resource
    curl http://127.0.0.1:8080/health
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
from kyc_openapi.api.resource import get_resource
from kyc_openapi.errors import UnexpectedStatus
from kyc_openapi.models import Resource

log = logging.getLogger(__name__)
# uvicorn sets up only its own loggers. Without this line, nobody would see the warnings of `kyc_client`. They say why a
# login failed, and when the next one is tried.
logging.basicConfig()


class State(TypedDict):
    """What each request finds in its `state`."""

    kyc: kyc_client.Client


@asynccontextmanager
async def lifespan(_app: FastAPI) -> AsyncGenerator[State]:
    """Connect at the start and disconnect at the end. If a variable is missing, the service does not start."""
    async with kyc_client.connect() as client:
        yield {"kyc": client}


def kyc(request: Request) -> kyc_client.Client:
    """The client, for `Depends`."""
    client: kyc_client.Client = request.state.kyc
    return client


Connected = Annotated[kyc_client.Client, Depends(kyc)]
app = FastAPI(lifespan=lifespan)


@app.get("/resource")
async def resource(client: Connected) -> JSONResponse:
    """Pass on what the API says."""
    answer = await get_resource.asyncio(client=client)
    if isinstance(answer, Resource):
        return JSONResponse(answer.to_dict())
    return problem("The KYC API does not accept our token.")


@app.get("/health")
async def health(client: Connected) -> dict[str, object]:
    """Say how the login is doing. This asks nobody, so an outage of the API does not restart this service."""
    status = client.login.status()
    failure = status.last_failure.__name__ if status.last_failure else None
    return {"token": status.phase, "last_failure": failure, "next_attempt_in": status.next_attempt_in}


@app.exception_handler(kyc_client.LoginUnavailableError)
async def try_again(_request: Request, error: kyc_client.LoginUnavailableError) -> JSONResponse:
    """Tell our own caller when to try again. The log of `kyc_client` says why, once for each login."""
    return problem("The KYC API is not available.", 503, {"Retry-After": str(math.ceil(error.retry_after or 1))})


@app.exception_handler(kyc_client.LoginError)
async def no_login(_request: Request, error: kyc_client.LoginError) -> JSONResponse:
    """Log what we have to do, because our caller cannot fix this. Once is enough, so cached errors are left out."""
    if not error.cached:
        log.error("%s", error)
    return problem("The KYC API does not let us in.")


@app.exception_handler(UnexpectedStatus)
@app.exception_handler(httpx.TransportError)
async def failed(_request: Request, error: Exception) -> JSONResponse:
    """The login is fine, and the call itself failed."""
    log.warning("%s: %s", type(error).__name__, error)
    return problem("The KYC API does not answer as it should.")


def problem(detail: str, status: int = 502, headers: dict[str, str] | None = None) -> JSONResponse:
    """An error for our caller: this service works, and what is behind it does not."""
    return JSONResponse({"detail": detail}, status, headers)
