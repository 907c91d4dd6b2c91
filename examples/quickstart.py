"""A service that calls the KYC API, once from sync and once from async code. Copy what you need.

It takes API_BASE_URL, API_LOGIN and API_PASSWORD from its environment. To try it without an account, run
`kyc-client sandbox` in another shell and paste what it prints into this one.
"""

import asyncio
import sys

import httpx

import kyc_client
from kyc_openapi.api.resource import get_resource
from kyc_openapi.errors import UnexpectedStatus
from kyc_openapi.models import Resource


def use_sync() -> None:
    """Make a call from sync code. A service keeps one client for as long as it runs, for all of its threads."""
    with kyc_client.connect() as client:  # nothing is sent yet
        answer = get_resource.sync(client=client)  # logs in, because this is the first call
        # An error that is described in openapi.yaml (a lasting 401) is returned as a model, and not raised.
        print(f"sync   {answer['user']}" if isinstance(answer, Resource) else f"sync   refused: {answer}")


async def use_async() -> None:
    """Make a call from async code. One client serves all tasks of an event loop."""
    async with kyc_client.connect() as client:
        answer = await get_resource.asyncio(client=client)
        print(f"async  {answer['user']}" if isinstance(answer, Resource) else f"async  refused: {answer}")


def main() -> int:
    """Run both, and say what went wrong. Each message says what to do about it."""
    try:
        use_sync()
        asyncio.run(use_async())
    except kyc_client.ConfigurationError as error:
        print(f"Not configured, nothing was sent. {error}", file=sys.stderr)
    except kyc_client.BadCredentialsError as error:
        print(f"Trying again is pointless before someone fixes the credentials. {error}", file=sys.stderr)
    except kyc_client.LoginUnavailableError as error:
        print(f"Worth trying again in {error.retry_after or 1:.0f} s. {error}", file=sys.stderr)
    except kyc_client.LoginError as error:
        print(f"No login. {error}", file=sys.stderr)
    except (UnexpectedStatus, httpx.TransportError) as error:
        print(f"The login is fine, the call itself failed. {error}", file=sys.stderr)
    else:
        return 0
    return 1


if __name__ == "__main__":
    sys.exit(main())
