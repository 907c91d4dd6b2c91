"""The guide's way with `requests`, and the same with this library.

It needs `pip install requests`. To try it, run `kyc-client sandbox` in another shell and paste what it prints into
this one.
"""

import os
from typing import Any

import requests

import kyc_client
from kyc_openapi.api.resource import get_resource
from kyc_openapi.models import Resource, Unauthorized


def before() -> Any:
    """Log in, keep the token and add the header. The expiry, 401s, threads and retries are still to be handled."""
    # --8<-- [start:before]
    base_url = os.environ["API_BASE_URL"]

    login = requests.post(
        f"{base_url}/auth/jwt/login",
        data={
            "username": os.environ["API_LOGIN"],
            "password": os.environ["API_PASSWORD"],
            "grant_type": "password",
        },
        timeout=30,
    )
    login.raise_for_status()
    token = login.json()["access_token"]

    answer = requests.get(
        f"{base_url}/api/v1/resource",
        headers={"Authorization": f"Bearer {token}"},
        timeout=30,
    )
    answer.raise_for_status()
    return answer.json()
    # --8<-- [end:before]


def after() -> Resource | Unauthorized | None:
    """Make the call."""
    # --8<-- [start:after]
    with kyc_client.connect() as client:
        return get_resource.sync(client=client)
    # --8<-- [end:after]


if __name__ == "__main__":
    print(f"before  {before()}")
    print(f"after   {after()}")
