"""The token for other libraries than httpx: `requests`, and a websocket. Copy what you need.

It needs `pip install requests websockets`. To try it, run `kyc-client sandbox` in another shell and paste what it
prints into this one. The sandbox has no websocket. `python examples/token_elsewhere.py wss://…` listens on one of
yours.

`get_token()` logs in if it must, and renews the token. It cannot see a 401. After one, call `auth.reset()`, which
forgets the token.
"""

import asyncio
import os
import sys
from typing import Any

import requests
from requests.auth import AuthBase
from websockets.asyncio.client import connect

import kyc_client


class KYCAuth(AuthBase):
    """Puts the current token on each request of a `requests.Session`. Use that session for the API only."""

    def __init__(self, auth: kyc_client.LoginAuth) -> None:
        """Keep the login."""
        self.auth = auth

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Add the header."""
        request.headers["Authorization"] = f"Bearer {self.auth.get_token().value}"
        return request


def fetch(auth: kyc_client.LoginAuth) -> Any:
    """Make a call with `requests`."""
    with requests.Session() as session:
        session.auth = KYCAuth(auth)
        answer = session.get(f"{os.environ['API_BASE_URL']}/api/v1/resource", timeout=30)
        if answer.status_code == 401:
            auth.reset()
        answer.raise_for_status()
        return answer.json()


async def listen(url: str, auth: kyc_client.LoginAuth) -> str | bytes:
    """Open a websocket with the token, and wait for the first message."""
    token = await auth.aget_token()
    async with connect(url, additional_headers={"Authorization": f"Bearer {token.value}"}) as websocket:
        return await websocket.recv()


if __name__ == "__main__":
    login = kyc_client.LoginAuth()
    print(f"requests   {fetch(login)}")
    for address in sys.argv[1:]:
        print(f"websocket  {asyncio.run(listen(address, login))!r}")
