# ruff: noqa: T201 - a script, which prints
"""Run scenarios with a package that was generated elsewhere, and with the unchanged wrapper.

    PYTHONPATH=<folder of the package>:. python -m tests.spec.specs.drive tests.spec.specs.grown_scenarios

Each public function of the module is a scenario, and is run once in each colour with a `Drive`. What comes out is JSON:
for each "scenario-colour" what went wrong, or "".
"""

from __future__ import annotations

import asyncio
import importlib
import inspect
import json
import os
import sys
import traceback
from typing import TYPE_CHECKING, Any, Self

import pytest

import kyc_client
from tests.support.fault_server import FaultServer

if TYPE_CHECKING:
    from collections.abc import Iterator

COLOURS = ("sync", "async")


class Drive:
    """A server, and a connected client in one colour."""

    def __init__(self, colour: str) -> None:
        self.colour = colour
        self.server = FaultServer()
        self._runner = asyncio.Runner()

    def __enter__(self) -> Self:
        self.server.__enter__()
        self._runner.__enter__()
        credentials = kyc_client.Credentials("fake-user@example.com", "fake-password-for-tests")
        self.client = kyc_client.connect(self.server.base_url, credentials=credentials, timeout=20)
        return self

    def __exit__(self, *error: object) -> None:
        if self.colour == "async":
            self._runner.run(self._close())
        else:
            self.client.get_httpx_client().close()
        self._runner.__exit__(None, None, None)
        self.server.__exit__(*error)

    async def _close(self) -> None:
        await self.client.get_async_httpx_client().aclose()

    def detailed(self, operation: Any, *path: object, **arguments: Any) -> Any:
        """Call an operation, and return its detailed response."""
        if self.colour == "async":
            return self._runner.run(operation.asyncio_detailed(*path, client=self.client, **arguments))
        return operation.sync_detailed(*path, client=self.client, **arguments)

    def call(self, operation: Any, *path: object, **arguments: Any) -> Any:
        """Call an operation with the function that services use, and return its result."""
        if self.colour == "async":
            return self._runner.run(operation.asyncio(*path, client=self.client, **arguments))
        return operation.sync(*path, client=self.client, **arguments)


def scenarios(module: Any) -> dict[str, Any]:
    """List the scenarios of a module by name."""
    return {
        name: function
        for name, function in inspect.getmembers(module, inspect.isfunction)
        if function.__module__ == module.__name__ and not name.startswith("_")
    }


def run(module: Any) -> Iterator[tuple[str, str]]:
    """Run all scenarios of a module in each colour."""
    for name, scenario in scenarios(module).items():
        for colour in COLOURS:
            try:
                with Drive(colour) as drive:
                    scenario(drive)
            except (Exception, pytest.fail.Exception):  # noqa: BLE001 - it is the result
                yield f"{name}-{colour}", traceback.format_exc()
            else:
                yield f"{name}-{colour}", ""


if __name__ == "__main__":
    for variable in [name for name in os.environ if name.upper().endswith("_PROXY")]:
        del os.environ[variable]
    print(json.dumps(dict(run(importlib.import_module(sys.argv[1])))))
