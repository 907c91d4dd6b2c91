"""Upload a document, from a file that is not read into memory. Copy what you need.

The API's guide describes no upload yet. The path and the fields here are made up, and the sandbox has no upload.
`upload()` works with any path of the API. `upload_by_operation()` does the same once `openapi.yaml` describes it
(`tests/spec/specs/grown.yaml` shows how).

    python examples/upload.py an-applicant passport.pdf
"""

import sys
from pathlib import Path
from typing import Any

import httpx

import kyc_client

# An upload takes longer than other calls, so each read and write gets more time. A connect gets no more than before.
TIMEOUT = httpx.Timeout(120.0, connect=10.0)


def upload(client: kyc_client.Client, applicant: str, path: Path) -> Any:
    """Upload a file, by its path in the API.

    A file can be rewound. So after a 401, it is sent again, whole, with a new token. A stream cannot be sent again, and
    its caller gets the 401.
    """
    with path.open("rb") as file:
        answer = client.get_httpx_client().post(
            f"/api/v1/applicants/{applicant}/documents",
            data={"kind": "passport"},
            files={"file": (path.name, file, "application/pdf")},
        )
    answer.raise_for_status()
    return answer.json()


def upload_by_operation(client: kyc_client.Client, applicant: str, path: Path) -> Any:
    """Upload a file, by the operation that is generated from openapi.yaml."""
    from kyc_openapi.api.documents import upload_document  # noqa: PLC0415 - does not exist before the spec has it

    from kyc_openapi.models import NewDocument, NewDocumentKind  # noqa: PLC0415 - likewise
    from kyc_openapi.types import File  # noqa: PLC0415 - beside the others

    with path.open("rb") as payload:
        file = File(payload, file_name=path.name, mime_type="application/pdf")
        return upload_document.sync(applicant, client=client, body=NewDocument(NewDocumentKind.PASSPORT, file))


if __name__ == "__main__":
    with kyc_client.connect(timeout=TIMEOUT) as connected:
        print(upload(connected, sys.argv[1], Path(sys.argv[2])))
