"""Measure one auth flow with a fresh token, compared with httpx's own no-op Auth and the simplest possible Auth.

Each figure is the best of several rounds. The candidates take turns in each round, so that a busy machine slows all of
them equally. Compare the ratios, because microseconds depend on the machine.
"""

from __future__ import annotations

import argparse
import time
from typing import TYPE_CHECKING

import httpx

import kyc_client

if TYPE_CHECKING:
    from collections.abc import Generator

URL = "https://kyc.example.com"
TOKEN = "fake-token-for-a-benchmark"  # noqa: S105 - says that it is a fake


class NaiveAuth(httpx.Auth):
    """Sets the token without any check: of the origin, the caller's header, the expiry or a 401."""

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        request.headers["Authorization"] = f"Bearer {TOKEN}"
        yield request


def answer(request: httpx.Request) -> httpx.Response:
    """Answer like the API, without a network."""
    token = {"access_token": TOKEN, "token_type": "bearer"}
    return httpx.Response(200, json=token if request.method == "POST" else {})


def seconds_per_turn(auth: httpx.Auth, client: httpx.Client, turns: int) -> float:
    """Return the seconds for each flow of one round, driven as httpx drives it.

    Each flow has a new request. The time to make the requests is not included.
    """
    requests = [client.build_request("GET", "/api/v1/resource") for _ in range(turns)]
    response = httpx.Response(200, request=requests[0])
    began = time.perf_counter()
    for request in requests:
        flow = auth.sync_auth_flow(request)
        next(flow)
        try:  # noqa: SIM105 - contextlib.suppress would take as long as the flow
            flow.send(response)
        except StopIteration:
            pass
    return (time.perf_counter() - began) / turns


def main() -> None:
    """Measure, and print the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=30, help="rounds for each candidate (default: 30)")
    parser.add_argument("--turns", type=int, default=3000, help="flows in a round (default: 3000)")
    arguments = parser.parse_args()

    ours = kyc_client.LoginAuth(
        URL,
        credentials=kyc_client.Credentials("fake-user", "fake-password"),
        transport=httpx.MockTransport(answer),
    )
    ours.get_token()
    candidates = {"no-op httpx.Auth": httpx.Auth(), "naive": NaiveAuth(), "kyc_client.LoginAuth": ours}
    client = httpx.Client(base_url=URL)
    best = dict.fromkeys(candidates, float("inf"))
    for _ in range(arguments.rounds):
        for name, auth in candidates.items():
            best[name] = min(best[name], seconds_per_turn(auth, client, arguments.turns))
    nothing = best.pop("no-op httpx.Auth")
    for name, seconds in best.items():
        print(f"{name:22} {(seconds - nothing) * 1e6:6.2f} us over a no-op Auth ({nothing * 1e6:.2f} us)")
    print(f"ratio to naive: {(best['kyc_client.LoginAuth'] - nothing) / (best['naive'] - nothing):.2f}  (budget 1.7)")


if __name__ == "__main__":
    main()
