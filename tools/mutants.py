"""Mutation testing with mutmut: change the modules that decide, one change at a time, and check that a test fails.

mutmut changes one thing (a `<` into a `<=`, an argument into None), runs the tests of that code, and changes it back. A
mutant survives if no test fails; then no test checks that behaviour. Write a test for each survivor, or explain it in
`mutants.toml`. Any other survivor makes the run fail. While you work on one:

    .venv/bin/python -m tools.mutants --again _token.flight

mutmut works on a copy, because it derives a module's name from its path and knows only `src` as a source folder.
"""

import argparse
import fnmatch
import json
import shutil
import subprocess
import sys
import tomllib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / ".mutants"
EXPLAINED = Path(__file__).with_name("mutants.toml")
# Their names under kyc_client. A place begins with such a name.
MODULES = (
    "_login.wire",
    "_token.lease",
    "_token.policy",
    "_token.flight",
    "_token.login",
    "_token.source",
    "_auth",
    "_token.reporter",
    "_settings",
    "_clock",
)
TESTS = {
    "core": ("wire", "lease", "policy", "source", "loops", "reporter", "clock", "fork"),
    "behaviour": ("auth", "bodies", "origins", "client", "copies", "gateway", "storms"),
}
# These tests look for secrets in frames. mutmut adds a frame to each call, and that frame holds all arguments.
FRAMES = ("no_frame_shows", "opens_no_tunnel", "proxy_that_is_none")
CONFIG = {
    "source_paths": ["src"],
    "also_copy": ["tools"],
    "pytest_add_cli_args": ["-p", "no:cacheprovider", "-p", "no:xdist", "-k", " and ".join(f"not {n}" for n in FRAMES)],
    "pytest_add_cli_args_test_selection": [f"tests/{room}/test_{n}.py" for room in TESTS for n in TESTS[room]],
    # All tests of a mutant may take (their seconds without it + 5) * 15. This is generous, because mutmut does not
    # count fixtures and the machine may be busy. With less, a survivor could look like a mutant that never ends. The
    # watchdog ends tests that hang.
    "timeout_constant": 5.0,
    "timeout_multiplier": 15.0,
    "use_git_change_detection": False,
    "on_dependency_change": "ignore",
}
WATCHDOG = "WATCHDOG_SECONDS = 120"
# Several times the longest of these tests. A test that hangs in a mutant counts as one that fails.
SHORT_WATCHDOG = "WATCHDOG_SECONDS = 12"
# The tests also notice a mutant if it makes them crash or never end.
NOTICED = {"killed", "timeout", "segfault"}


class MutantsError(Exception):
    """There is no result. The message says why."""


@dataclass(frozen=True)
class Mutant:
    """A mutant for which no test failed.

    Attributes:
        name: mutmut's name for it.
        status: mutmut's word for its result.
        diff: its change, as mutmut shows it.
    """

    name: str
    status: str
    diff: str

    @property
    def module(self) -> str:
        """Its module, by the name under `kyc_client`."""
        return self.name.removeprefix("kyc_client.").rpartition(".")[0]

    @property
    def place(self) -> str:
        """Its function, as `module.Class.method`. mutmut writes `module.xǁClassǁmethod__mutmut_7`."""
        function = self.name.rpartition(".")[2].partition("__mutmut_")[0]
        return f"{self.module}.{function.removeprefix('xǁ').removeprefix('x_').replace('ǁ', '.')}"

    @property
    def changed(self) -> tuple[str, str]:
        """The lines that the change removes, and the lines that replace them."""
        lines = [line for line in self.diff.splitlines() if not line.startswith(("---", "+++"))]
        old, new = ([line[1:].strip() for line in lines if line.startswith(sign)] for sign in "-+")
        return "\n".join(old), "\n".join(new)


@dataclass(frozen=True)
class Explanation:
    """Why mutants of a function may survive.

    Attributes:
        place: the function, as `_folder.module.Class.method`, or a pattern (`_folder.module.*`) for several.
        becomes: the code that the mutants add. If they only remove code, the code that they remove.
        why: the reason, for people.
    """

    place: str
    becomes: tuple[str, ...]
    why: str

    def covers(self, mutant: Mutant) -> bool:
        """Return whether this explains the mutant."""
        return fnmatch.fnmatchcase(mutant.place, self.place) and any(_does(mutant, text) for text in self.becomes)

    def missing(self, mutants: list[Mutant]) -> list[str]:
        """Return the entries of `becomes` that match none of the mutants."""
        here = [mutant for mutant in mutants if fnmatch.fnmatchcase(mutant.place, self.place)]
        return [text for text in self.becomes if not any(_does(mutant, text) for mutant in here)]


def _does(mutant: Mutant, text: str) -> bool:
    old, new = mutant.changed
    return text in new and text not in old if new else text in old


def read_explanations(path: Path = EXPLAINED) -> list[Explanation]:
    """Read the explained survivors."""
    tables = tomllib.loads(path.read_text("utf-8"))["explained"]
    return [Explanation(table["place"], tuple(table["becomes"]), table["why"]) for table in tables]


def prepare(folder: Path, modules: list[str]) -> None:
    """Copy what mutmut needs, in a layout that it understands. This overwrites an older copy."""
    for source, copy in (
        ("wrapper/kyc_client", "src/kyc_client"),
        ("generated/kyc_openapi", "src/kyc_openapi"),
        ("tests", "tests"),
        ("tools", "tools"),
    ):
        shutil.copytree(ROOT / source, folder / copy, dirs_exist_ok=True)
    conftest = folder / "tests" / "conftest.py"
    text = conftest.read_text("utf-8")
    if text.count(WATCHDOG) != 1:
        raise MutantsError(f"tests/conftest.py no longer contains {WATCHDOG}: adapt tools/mutants.py.")
    conftest.write_text(text.replace(WATCHDOG, SHORT_WATCHDOG), "utf-8")
    config = {**CONFIG, "only_mutate": [f"src/kyc_client/{module.replace('.', '/')}.py" for module in modules]}
    # JSON works as TOML here, because both write strings, numbers, lists and booleans in the same way.
    settings = "".join(f"{name} = {json.dumps(value)}\n" for name, value in config.items())
    project = (ROOT / "pyproject.toml").read_text("utf-8")
    (folder / "pyproject.toml").write_text(f"{project}\n[tool.mutmut]\n{settings}", "utf-8")


def mutmut(folder: Path, *arguments: str) -> str:
    """Run a command of mutmut that reports something, and return its output."""
    command = [str(Path(sys.executable).with_name("mutmut")), *arguments]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, encoding="utf-8").stdout


def statuses(folder: Path) -> dict[str, str]:
    """Return the result of each mutant."""
    lines = (line.strip().rpartition(": ") for line in mutmut(folder, "results", "--all", "true").splitlines())
    return {name: status for name, _, status in lines if name}


def forget_survivors(folder: Path) -> None:
    """Make mutmut try the unnoticed mutants again, and find out again which tests execute which function."""
    unnoticed = {name for name, status in statuses(folder).items() if status not in NOTICED}
    for path in (folder / "mutants" / "src" / "kyc_client").rglob("*.meta"):
        known = json.loads(path.read_text("utf-8"))
        codes = known["exit_code_by_key"]
        known["exit_code_by_key"] = {name: None if name in unnoticed else code for name, code in codes.items()}
        path.write_text(json.dumps(known), "utf-8")
    (folder / "mutants" / "mutmut-stats.json").unlink(missing_ok=True)


def attack(folder: Path, processes: int) -> None:
    """Run the tests on all mutants that have not been tried. mutmut shows its progress."""
    command = [str(Path(sys.executable).with_name("mutmut")), "run", "--max-children", str(processes)]
    if subprocess.run(command, cwd=folder, check=False).returncode:
        raise MutantsError("mutmut could not run. Its output above says why.")


def report(results: dict[str, str], survivors: list[Mutant], explanations: list[Explanation]) -> int:
    """Print the unexplained survivors, the explanations that match nothing, and the counts.

    Args:
        results: the result of each mutant, by name.
        survivors: the mutants that no test noticed.
        explanations: why some of them may survive.

    Returns:
        The exit status: 1 if there is a survivor without an explanation.
    """
    unexplained = [mutant for mutant in survivors if not any(one.covers(mutant) for one in explanations)]
    for mutant in unexplained:
        print(f"\n{mutant.place} ({mutant.name}): {mutant.status}")
        print("".join(f"    {line}\n" for line in mutant.diff.splitlines()[3:]), end="")
    modules = {Mutant(name, "", "").module for name in results}
    for one in explanations:
        if any(one.place.startswith(f"{module}.") for module in modules):
            for text in one.missing(survivors):
                print(f"\n{EXPLAINED.name} explains a mutant that has not survived: {one.place}, {text}")
    counts = ", ".join(f"{count} {status}" for status, count in Counter(results.values()).most_common())
    explained = len(survivors) - len(unexplained)
    print(f"\n{len(results)} mutants: {counts}; {explained} explained, {len(unexplained)} not")
    return 1 if unexplained else 0


def main(arguments: list[str] | None = None) -> int:
    """Run the command line. Return 0 if every mutant is noticed or explained."""
    parser = argparse.ArgumentParser(description="Mutation tests of the modules that decide (half an hour for all).")
    parser.add_argument("modules", nargs="*", metavar="MODULE", help=f"one of {', '.join(MODULES)} (default: all)")
    parser.add_argument("--again", action="store_true", help="only the survivors of the last run, and changed code")
    parser.add_argument("--processes", type=int, default=2, metavar="N", help="how many mutants at a time (default: 2)")
    options = parser.parse_args(arguments)
    modules = options.modules or list(MODULES)
    if unknown := sorted(set(modules) - set(MODULES)):
        parser.error(f"no such module: {', '.join(unknown)}. The modules are {', '.join(MODULES)}.")
    if not options.again:
        shutil.rmtree(FOLDER, ignore_errors=True)
    try:
        prepare(FOLDER, modules)
        if options.again:
            forget_survivors(FOLDER)
        attack(FOLDER, options.processes)
        results = statuses(FOLDER)
        survivors = [
            Mutant(name, status, mutmut(FOLDER, "show", name))
            for name, status in results.items()
            if status not in NOTICED
        ]
    except MutantsError as error:
        print(error, file=sys.stderr)
        return 1
    return report(results, survivors, read_explanations())


if __name__ == "__main__":
    sys.exit(main())
