"""A headless Chromium for pages that are files, controlled over a pipe with the DevTools protocol.

    with Browser() as browser:
        (page,) = browser.open([path], width=390, dark=True)
        assert page.troubles == []

It cannot resolve any host. If a page asks for one, the page gets an error, which counts as trouble.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

# The name of Debian's package and program.
CHROMIUM = shutil.which("chromium")
PATIENCE = 90.0  # seconds; on a quiet machine it takes two
COMMAND = (
    "--headless=new",
    # The sandbox does not work as root in a container. We open only our own pages.
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
    "--host-resolver-rules=MAP * ~NOTFOUND",
    "--remote-debugging-pipe",
    "about:blank",
)
# The protocol uses descriptor 3 to the browser, and 4 from it. Copy ours to high numbers first, because one of them may
# be 3 or 4.
START = """
import fcntl, os, sys
to_browser, from_browser = (fcntl.fcntl(int(number), fcntl.F_DUPFD_CLOEXEC, 10) for number in sys.argv[1:3])
os.dup2(to_browser, 3)
os.dup2(from_browser, 4)
os.execv(sys.argv[3], sys.argv[3:])
"""


class BrowserError(Exception):
    """The browser did not follow a command."""


class Tab:
    """One page in the browser.

    Attributes:
        troubles: errors on its console, failed requests, and requests to anything except this site's files.
    """

    def __init__(self, browser: Browser, path: Path, session: str) -> None:
        self.browser = browser
        self.path = path
        self.session = session
        self.troubles: list[str] = []
        self.idle = False

    def note(self, method: str, told: dict[str, Any]) -> None:
        """Record an event from the browser."""
        if method == "Network.requestWillBeSent":
            url = told["request"]["url"]
            if not url.startswith(("file:", "data:", "blob:")):
                self.troubles.append(f"it asks for {url}")
        elif method == "Network.loadingFailed":
            self.troubles.append(f"a request failed: {told['errorText']}")
        elif method == "Log.entryAdded" and told["entry"]["level"] == "error":
            self.troubles.append(told["entry"]["text"])
        elif method == "Runtime.exceptionThrown":
            self.troubles.append(str(told["exceptionDetails"].get("exception", told["exceptionDetails"])))
        elif method == "Runtime.consoleAPICalled" and told["type"] in {"error", "assert"}:
            self.troubles.append(str(told["args"]))
        elif method == "Page.lifecycleEvent" and told["name"] == "networkIdle":
            self.idle = True

    def evaluate(self, expression: str) -> Any:
        """Return the value of an expression, or of its promise, in this page.

        The tab is brought to the front, because the browser does not paint the others.
        """
        self.browser.call("Page.bringToFront", self.session)
        told = self.browser.call(
            "Runtime.evaluate", self.session, expression=expression, awaitPromise=True, returnByValue=True
        )
        if "exceptionDetails" in told:
            raise BrowserError(str(told["exceptionDetails"]))
        return told["result"].get("value")


class Browser:
    """See the module's docstring."""

    def __enter__(self) -> Self:
        assert CHROMIUM is not None
        with contextlib.ExitStack() as stack:
            folder = tempfile.TemporaryDirectory(prefix="kyc-browser-", ignore_cleanup_errors=True)
            profile = f"--user-data-dir={stack.enter_context(folder)}"
            to_browser, self._to = os.pipe()
            self._from, from_browser = os.pipe()
            descriptors = (to_browser, from_browser)
            self._process = subprocess.Popen(  # noqa: S603 - Debian's Chromium
                [sys.executable, "-c", START, *map(str, descriptors), CHROMIUM, *COMMAND, profile],
                pass_fds=descriptors,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            for descriptor in descriptors:
                os.close(descriptor)
            stack.callback(self._end)
            self._buffer = bytearray()
            self._number = 0
            self._tabs: dict[str, Tab] = {}
            self._resources = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._resources.close()

    def _end(self) -> None:
        with contextlib.suppress(BrowserError, OSError):
            self.call("Browser.close")
        self._process.kill()
        self._process.wait()
        for descriptor in (self._to, self._from):
            os.close(descriptor)

    def call(self, method: str, session: str | None = None, **parameters: Any) -> dict[str, Any]:
        """Send a command to the browser, and return its answer."""
        self._number += 1
        number = self._number
        message = {"id": number, "method": method, "params": parameters} | ({"sessionId": session} if session else {})
        os.write(self._to, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + PATIENCE
        while True:
            told = self._next(deadline)
            if told.get("id") == number:
                if "error" in told:
                    raise BrowserError(f"{method}: {told['error']}")
                result: dict[str, Any] = told["result"]
                return result

    def open(self, paths: Iterable[Path], *, width: int, dark: bool) -> list[Tab]:
        """Open each page in its own tab, and wait until all have finished loading."""
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        tabs = []
        for path in paths:
            target = self.call("Target.createTarget", url="about:blank")["targetId"]
            session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
            tab = Tab(self, path, session)
            for domain in ("Page", "Runtime", "Network", "Log"):
                self.call(f"{domain}.enable", session)
            size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
            self.call("Emulation.setDeviceMetricsOverride", session, **size)
            self.call("Emulation.setEmulatedMedia", session, features=scheme)
            self._tabs[session] = tab
            self.call("Page.setLifecycleEventsEnabled", session, enabled=True)
            tab.idle = False
            self.call("Page.navigate", session, url=path.as_uri())
            tabs.append(tab)
        deadline = time.monotonic() + PATIENCE
        while not all(tab.idle for tab in tabs):
            self._next(deadline)
        return tabs

    def _next(self, deadline: float) -> dict[str, Any]:
        """Return the next message. An event of a tab is also recorded there."""
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._from], [], [], max(0.0, deadline - time.monotonic()))
            data = os.read(self._from, 1 << 20) if ready else b""
            if not data:
                raise BrowserError(f"nothing came within {PATIENCE:.0f} s, or the browser has ended")
            self._buffer += data
        raw, _, rest = bytes(self._buffer).partition(b"\0")
        self._buffer = bytearray(rest)
        told: dict[str, Any] = json.loads(raw)
        tab = self._tabs.get(told.get("sessionId", ""))
        if tab is not None and "method" in told:
            tab.note(told["method"], told["params"])
        return told
