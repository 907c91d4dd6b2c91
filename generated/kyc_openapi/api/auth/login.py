# Generated from openapi.yaml by `make generate`. Do not edit: change the spec and generate again.
# pyright: standard
from typing import Any

import httpx

from ... import errors
from ...client import AuthenticatedClient, Client
from ...models.bearer_token import BearerToken
from ...models.http_validation_error import HTTPValidationError
from ...models.login_form import LoginForm
from ...models.login_refusal import LoginRefusal
from ...types import Response


def _get_kwargs(
    *,
    body: LoginForm,
) -> dict[str, Any]:
    headers: dict[str, Any] = {}

    _kwargs: dict[str, Any] = {
        "auth": None,  # Public: it is sent without a token, and needs no login.
        "method": "post",
        "url": "/auth/jwt/login",
    }

    _kwargs["data"] = body.to_dict()
    headers["Content-Type"] = "application/x-www-form-urlencoded"

    _kwargs["headers"] = headers
    return _kwargs


def _parse_response(
    *, client: AuthenticatedClient | Client, response: httpx.Response
) -> BearerToken | HTTPValidationError | LoginRefusal | None:
    if response.status_code == 200:
        response_200 = BearerToken.from_dict(response.json())

        return response_200

    if response.status_code == 400:
        response_400 = LoginRefusal.from_dict(response.json())

        return response_400

    if response.status_code == 422:
        response_422 = HTTPValidationError.from_dict(response.json())

        return response_422

    if client.raise_on_unexpected_status:
        raise errors.UnexpectedStatus(response.status_code, response.content)
    else:
        return None


def _build_response(
    *, client: AuthenticatedClient | Client, response: httpx.Response
) -> Response[BearerToken | HTTPValidationError | LoginRefusal]:
    return Response(
        status_code=response.status_code,
        content=response.content,
        headers=response.headers,
        parsed=_parse_response(client=client, response=response),
    )


def sync_detailed(
    *,
    client: AuthenticatedClient | Client,
    body: LoginForm,
) -> Response[BearerToken | HTTPValidationError | LoginRefusal]:
    """Log in

     Exchanges your credentials for an access token. This is also how an expired or refused token is
    replaced, since the API has no refresh endpoint.

    Needs no token itself. The credentials travel in the body, as a form, and never in the URL.

    Args:
        body (LoginForm): The credentials that were assigned to you out of band.

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Response[BearerToken | HTTPValidationError | LoginRefusal]
    """

    kwargs = _get_kwargs(
        body=body,
    )

    response = client.get_httpx_client().request(
        **kwargs,
    )

    return _build_response(client=client, response=response)


def sync(
    *,
    client: AuthenticatedClient | Client,
    body: LoginForm,
) -> BearerToken | HTTPValidationError | LoginRefusal | None:
    """Log in

     Exchanges your credentials for an access token. This is also how an expired or refused token is
    replaced, since the API has no refresh endpoint.

    Needs no token itself. The credentials travel in the body, as a form, and never in the URL.

    Args:
        body (LoginForm): The credentials that were assigned to you out of band.

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        BearerToken | HTTPValidationError | LoginRefusal
    """

    return sync_detailed(
        client=client,
        body=body,
    ).parsed


async def asyncio_detailed(
    *,
    client: AuthenticatedClient | Client,
    body: LoginForm,
) -> Response[BearerToken | HTTPValidationError | LoginRefusal]:
    """Log in

     Exchanges your credentials for an access token. This is also how an expired or refused token is
    replaced, since the API has no refresh endpoint.

    Needs no token itself. The credentials travel in the body, as a form, and never in the URL.

    Args:
        body (LoginForm): The credentials that were assigned to you out of band.

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Response[BearerToken | HTTPValidationError | LoginRefusal]
    """

    kwargs = _get_kwargs(
        body=body,
    )

    response = await client.get_async_httpx_client().request(**kwargs)

    return _build_response(client=client, response=response)


async def asyncio(
    *,
    client: AuthenticatedClient | Client,
    body: LoginForm,
) -> BearerToken | HTTPValidationError | LoginRefusal | None:
    """Log in

     Exchanges your credentials for an access token. This is also how an expired or refused token is
    replaced, since the API has no refresh endpoint.

    Needs no token itself. The credentials travel in the body, as a form, and never in the URL.

    Args:
        body (LoginForm): The credentials that were assigned to you out of band.

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        BearerToken | HTTPValidationError | LoginRefusal
    """

    return (
        await asyncio_detailed(
            client=client,
            body=body,
        )
    ).parsed
