"""Compare our login with the one that a server publishes at /openapi.json, and say what each difference means.

Exit status: 0 if no difference breaks us, 1 if one does, 2 if there is nothing to compare with: no URL, no answer, or
an answer that is not an OpenAPI 3 document.
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
from collections import Counter
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from .changes import ROOT, table
from .login_drift import Difference, Document, Verdict, differences, find_login

if TYPE_CHECKING:
    from collections.abc import Sequence

SECONDS = 30.0  # for the whole answer
MAX_BYTES = 10 * 1024 * 1024


class NothingToCompareError(Exception):
    """There is no document to compare with. The message says why in one line."""


def location(url: str) -> httpx.URL:
    """Return the URL of the document: the given URL if it ends in .json, else /openapi.json below it.

    Raises:
        NothingToCompareError: it is not the URL of a server.
    """
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise NothingToCompareError(f"{url} is not a URL: {error}") from None
    if parsed.scheme not in {"http", "https"} or not parsed.host:
        raise NothingToCompareError(f"{url} is not the URL of a server. Give one such as https://kyc.example.com")
    return parsed if parsed.path.endswith(".json") else parsed.copy_with(path=parsed.path.rstrip("/") + "/openapi.json")


def fetch(url: httpx.URL, seconds: float = SECONDS) -> bytes:
    """Download the document.

    Args:
        url: where it is.
        seconds: for the whole answer.

    Raises:
        NothingToCompareError: it cannot be downloaded, takes longer, or has more than `MAX_BYTES`.
    """
    shown = url.copy_with(userinfo=b"")
    outcome: Future[bytes] = Future()
    # Download in a daemon thread, so that we can stop waiting. httpx's own timeouts start again with each byte.
    threading.Thread(target=_land, args=[outcome, url, seconds], daemon=True).start()
    try:
        return outcome.result(seconds)
    except httpx.HTTPStatusError as error:
        raise NothingToCompareError(f"{shown} answered {error.response.status_code}, not with a document") from None
    except httpx.HTTPError as error:
        raise NothingToCompareError(f"{shown} cannot be reached: {error or type(error).__name__}") from None
    except TimeoutError:
        raise NothingToCompareError(f"{shown} did not arrive within {seconds:g} s") from None
    except OverflowError:
        raise NothingToCompareError(f"{shown} is larger than {MAX_BYTES} bytes") from None


def _download(url: httpx.URL, seconds: float) -> bytes:
    body = bytearray()
    with httpx.stream("GET", url, timeout=seconds) as response:
        if response.status_code != httpx.codes.OK:
            raise httpx.HTTPStatusError("", request=response.request, response=response)
        for piece in response.iter_bytes():
            body += piece
            if len(body) > MAX_BYTES:
                raise OverflowError
    return bytes(body)


def _land(outcome: Future[bytes], url: httpx.URL, seconds: float) -> None:
    try:
        outcome.set_result(_download(url, seconds))
    except Exception as error:  # noqa: BLE001 - raised again in the waiting thread
        outcome.set_exception(error)


def read(body: bytes, name: object) -> Document:
    """Read the document that a server published.

    Raises:
        NothingToCompareError: it is not an OpenAPI 3 document in JSON.
    """
    try:
        content: Any = json.loads(body)
    except ValueError:
        raise NothingToCompareError(f"{name} is not JSON") from None
    if not isinstance(content, dict) or not str(content.get("openapi")).startswith("3."):
        raise NothingToCompareError(f"{name} is not an OpenAPI 3 document")
    return Document(content)


def read_ours(path: Path) -> Document:
    """Read our own document.

    Raises:
        NothingToCompareError: it cannot be read, or has no login.
    """
    try:
        ours = Document(YAML(typ="safe").load(path))
        find_login(ours)
    except (OSError, YAMLError, LookupError) as error:
        raise NothingToCompareError(f"{path} cannot be used for a comparison: {error}") from None
    return ours


def compare(ours: Document, theirs: Document, name: object) -> list[Difference]:
    """Return the differences, the worst first.

    Raises:
        NothingToCompareError: their document cannot be understood.
    """
    try:
        return sorted(differences(ours, theirs), key=lambda each: list(Verdict).index(each.verdict))
    except Exception as error:  # noqa: BLE001 - another party's document may hold anything anywhere
        raise NothingToCompareError(f"{name} cannot be understood: {type(error).__name__}: {error}") from None


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line, and return its exit status."""
    parser = argparse.ArgumentParser(
        prog="spec-drift",
        usage="make spec-drift URL=https://kyc.example.com, or %(prog)s [--spec SPEC] URL",
        description=__doc__,
    )
    parser.add_argument("--spec", type=Path, default=ROOT / "openapi.yaml", help="our document")
    parser.add_argument("url", metavar="URL", help="the server's base URL, or the URL of its document (ends in .json)")
    options = parser.parse_args(arguments)
    try:
        ours = read_ours(options.spec)
        url = location(options.url)
        name = url.copy_with(userinfo=b"")
        found = compare(ours, read(fetch(url), name), name)
    except NothingToCompareError as error:
        print(f"spec-drift: {error}", file=sys.stderr)
        return 2
    print(f"spec-drift: the login of {options.spec.name}, compared with the login of {name}\n")
    if found:
        print(
            table([(each.verdict.value, each.where, each.what) for each in found], ("verdict", "where", "theirs"))
            + "\n"
        )
    counts = Counter(each.verdict for each in found)
    print(", ".join(f"{counts[verdict]} {verdict.value}" for verdict in Verdict) + ".")
    return int(counts[Verdict.BREAKS] > 0)


if __name__ == "__main__":
    sys.exit(main())
