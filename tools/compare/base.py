"""The commit with which the working tree is compared, and its files."""

from __future__ import annotations

import io
import re
import shutil
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

SECONDS = 60  # for each git command
VERSION_FILE = Path("wrapper", "kyc_client", "_version.py")
Version: TypeAlias = tuple[int, int, int]


class MisuseError(Exception):
    """The question makes no sense here. The message says why in one line."""


@dataclass(frozen=True)
class Base:
    """A commit to compare with.

    Attributes:
        root: the folder of the repository.
        ref: its name, such as `v0.1.0`.
        reason: why this commit was chosen.
    """

    root: Path
    ref: str
    reason: str

    def extract(self, path: Path, folder: Path) -> Path:
        """Write a file or folder of this commit into `folder`, and return its path.

        Raises:
            MisuseError: the commit does not have it.
        """
        archive = git(self.root, "archive", "--format=tar", self.ref, "--", path.as_posix())
        if archive is None:
            raise MisuseError(f"{path} is not there in {self}: it was added later, or had another name.")
        with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
            tar.extractall(folder, filter="data")
        return folder / path

    def version(self) -> Version:
        """Return the version of the package at this commit."""
        text = git(self.root, "show", f"{self.ref}:{VERSION_FILE.as_posix()}")
        return read_version((text or b"").decode("utf-8", "replace"), f"{VERSION_FILE} in {self}")

    def __str__(self) -> str:
        return f"{self.ref} ({self.reason})"


def git(root: Path, *arguments: str) -> bytes | None:
    """Run git in the repository, and return its output; None if it failed."""
    executable = shutil.which("git")
    if executable is None:
        raise MisuseError("git is not installed. Install it, because earlier commits come from git.")
    result = subprocess.run(
        [executable, *arguments], cwd=root, stdin=subprocess.DEVNULL, capture_output=True, timeout=SECONDS, check=False
    )
    return None if result.returncode else result.stdout


def text_of(root: Path, *arguments: str) -> str | None:
    """Run git, and return the line that it printed; None if it failed or printed nothing."""
    printed = git(root, *arguments)
    return (printed or b"").decode("utf-8", "replace").strip() or None


def last_release(root: Path) -> Base | None:
    """Return the last tag at or before HEAD that is a version, such as v0.1.0; None if this clone has none."""
    tag = text_of(root, "describe", "--tags", "--abbrev=0", "--match=v[0-9]*", "--match=[0-9]*")
    return None if tag is None else Base(root, tag, "the last release")


def is_shallow(root: Path) -> bool:
    """Return whether the clone lacks earlier commits, and perhaps the tags too."""
    return text_of(root, "rev-parse", "--is-shallow-repository") == "true"


def find_base(root: Path, ref: str | None) -> Base:
    """Find the requested commit. Without one, take the last release, then origin/main, then HEAD.

    Raises:
        MisuseError: there is no such commit, no repository, or no git.
    """
    _require_repository(root)
    if ref:
        if ref.startswith("-") or text_of(root, "rev-parse", "--verify", "--quiet", f"{ref}^{{commit}}") is None:
            raise MisuseError(
                f"{ref!r} is not a commit, tag or branch here. In a shallow clone, run git fetch --unshallow."
            )
        return Base(root, ref, "as requested")
    release = last_release(root)
    if release is not None:
        return release
    for name, reason in (("origin/main", "no release is tagged here"), ("HEAD", "no release is tagged here")):
        if text_of(root, "rev-parse", "--verify", "--quiet", f"{name}^{{commit}}"):
            return Base(root, name, reason)
    raise MisuseError("This repository has no commit yet.")


def read_version(text: str, where: str) -> Version:
    """Read the version from the text of `_version.py`. Anything after its three numbers is ignored.

    Raises:
        MisuseError: there is no version.
    """
    found = re.search(r'^__version__ = "(\d+)\.(\d+)\.(\d+)', text, re.MULTILINE)
    if found is None:
        raise MisuseError(f'{where} has no line such as __version__ = "0.1.0".')
    major, minor, patch = map(int, found.groups())
    return major, minor, patch


def version_now(root: Path) -> Version:
    """Return the version of the package in the working tree."""
    path = root / VERSION_FILE
    return read_version(path.read_text("utf-8") if path.is_file() else "", str(VERSION_FILE))


def _require_repository(root: Path) -> None:
    if git(root, "rev-parse", "--git-dir") is None:
        raise MisuseError(f"{root.name} is not a git repository, so there is no commit to compare with.")
