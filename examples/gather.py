"""A script that makes many calls at the same time: one login, twenty connections. Copy what you need.

To try it, run `kyc-client sandbox` in another shell and paste what it prints into this one.
"""

import asyncio
import sys
import time

import httpx

import kyc_client
from kyc_openapi.api.resource import get_resource
from kyc_openapi.models import Resource

CALLS = 200
AT_ONCE = 20


async def main() -> int:
    """Make all calls, and count what came back."""
    began = time.monotonic()
    async with kyc_client.connect(limits=httpx.Limits(max_connections=AT_ONCE)) as client:
        # Calls wait here and not in httpx's pool, which takes time for each call that waits in it.
        gate = asyncio.Semaphore(AT_ONCE)

        async def call() -> bool:
            async with gate:
                return isinstance(await get_resource.asyncio(client=client), Resource)

        done = sum(await asyncio.gather(*(call() for _ in range(CALLS))))
    print(f"{done} of {CALLS} calls succeeded, in {time.monotonic() - began:.1f} s")
    return 0 if done == CALLS else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
