"""The API's login on your own machine: a real server to try things against, with nothing faked behind it.

The KYC API's login is FastAPI Users, and so is this one: the same routes, codes and JWTs, on SQLite in a
temporary file, bound to 127.0.0.1. There are three users, one for each thing that a login can say: `active`
may log in, `inactive` gets LOGIN_BAD_CREDENTIALS, `unverified` gets LOGIN_USER_NOT_VERIFIED. In a test:

    with Sandbox(token_lifetime=60) as sandbox:
        with kyc_client.connect(sandbox.base_url, credentials=sandbox.active) as client:
            ...
        assert sandbox.login_count == 1

In a shell: `kyc-client sandbox`. Both need the extra: `pip install 'kyc-client[sandbox]'`. It is made for
tests and trials only: its password is public and its password hashes are cheap.
"""

from ._server import LOGIN_PATH, RESOURCE_PATH, PortInUseError, RequestRecord, Sandbox, SandboxError

__all__ = ["LOGIN_PATH", "RESOURCE_PATH", "PortInUseError", "RequestRecord", "Sandbox", "SandboxError"]
