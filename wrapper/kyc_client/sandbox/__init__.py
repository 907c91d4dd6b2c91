"""The API's login on your own machine: a real server for trials and tests, without fakes.

The KYC API's login is FastAPI Users, and so is this one. It has the same routes, codes and JWTs. It keeps its users in
SQLite in a temporary file, and listens on 127.0.0.1 only. There are three users, one for each result of a login:
`active` may log in, `inactive` gets LOGIN_BAD_CREDENTIALS, `unverified` gets LOGIN_USER_NOT_VERIFIED. In a test:

    with Sandbox(token_lifetime=60) as sandbox:
        with kyc_client.connect(sandbox.base_url, credentials=sandbox.active) as client:
            ...
        assert sandbox.login_count == 1

In a shell: `kyc-client sandbox`. Both need the extra: `pip install 'kyc-client[sandbox]'`. Use the sandbox for tests
and trials only, because its password is public and its password hashes are weak.
"""

from ._server import LOGIN_PATH, RESOURCE_PATH, PortInUseError, RequestRecord, Sandbox, SandboxError

__all__ = ["LOGIN_PATH", "RESOURCE_PATH", "PortInUseError", "RequestRecord", "Sandbox", "SandboxError"]
