"""Worker processes, made by a fork, that share one login. Copy what you need.

The same holds for Celery's prefork pool and for `gunicorn --preload`: make the client in a module, before the fork. To
try it, run `kyc-client sandbox` in another shell and paste what it prints into this one.
"""

import multiprocessing
import os
import sys

import kyc_client
from kyc_openapi.api.resource import get_resource
from kyc_openapi.models import Resource

WORKERS = 4
TASKS = 20

# This does no network I/O. Each process makes connections of its own, and shares none.
client = kyc_client.connect()


def task(_number: int) -> tuple[int, bool]:
    """Do one piece of work, in a worker that is free."""
    answer = get_resource.sync(client=client)
    return os.getpid(), isinstance(answer, Resource)


def main() -> int:
    """Log in once, fork, and let the workers work."""
    # You may leave this out. Each worker then logs in by itself at its first call.
    client.login.get_token()
    with multiprocessing.get_context("fork").Pool(WORKERS) as pool:
        results = pool.map(task, range(TASKS), chunksize=1)
    done = sum(ok for _, ok in results)
    print(f"{done} of {TASKS} tasks done by {len({worker for worker, _ in results})} workers")
    return 0 if done == TASKS else 1


if __name__ == "__main__":
    sys.exit(main())
