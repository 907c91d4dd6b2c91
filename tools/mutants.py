"""Break the modules that decide, a little at a time, and see whether the tests notice: mutation testing with mutmut.

mutmut changes one thing (a `<` into a `<=`, an argument into None), runs the tests that get there, and changes it back.
A mutant that no test fails for has survived: a behaviour that no test holds. Each survivor is killed by a test, or has
its reason in `mutants.toml`; any other one fails the run. While you work on one:

    .venv/bin/python -m tools.mutants --again _token.flight

mutmut tells a module's name from its path, and knows no source folder but `src`. Hence it works on a copy.
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
# By their names under kyc_client, which are also how a place begins.
MODULES = (
    "_login.wire",
    "_token.lease",
    "_token.policy",
    "_token.flight",
    "_token.source",
    "_auth",
    "_token.reporter",
    "_settings",
    "_clock",
)
TESTS = {
    "core": ("token", "policy", "flight", "loops", "reporter"),
    "behaviour": ("auth", "bodies", "origins", "client", "tls", "proxies"),
}
# These tests look for secrets in frames. mutmut calls each function through a frame of its own, which has them all.
FRAMES = ("no_frame_shows", "opens_no_tunnel", "proxy_that_is_none")
CONFIG = {
    "source_paths": ["src"],
    "also_copy": ["tools"],
    "pytest_add_cli_args": ["-p", "no:cacheprovider", "-p", "no:xdist", "-k", " and ".join(f"not {n}" for n in FRAMES)],
    "pytest_add_cli_args_test_selection": [f"tests/{room}/test_{n}.py" for room in TESTS for n in TESTS[room]],
    # The watchdog ends what hangs. All tests of a mutant together may take (the seconds they took before + 5) * 15:
    # mutmut counts no fixtures, and the machine may be busy; a survivor must not pass for a mutant that never ends.
    "timeout_constant": 5.0,
    "timeout_multiplier": 15.0,
    "use_git_change_detection": False,
    "on_dependency_change": "ignore",
}
WATCHDOG = "WATCHDOG_SECONDS = 120"
# Several times what the longest of these tests takes: a test that hangs in a mutant is as good as one that fails.
SHORT_WATCHDOG = "WATCHDOG_SECONDS = 12"
# A mutant that makes the tests crash or never end has been noticed as well.
NOTICED = {"killed", "timeout", "segfault"}


class MutantsError(Exception):
    """Why there is no result."""


@dataclass(frozen=True)
class Mutant:
    """A mutant that no test failed for.

    Attributes:
        name: mutmut's name for it.
        status: mutmut's word for what became of it.
        diff: what it changes, as mutmut shows it.
    """

    name: str
    status: str
    diff: str

    @property
    def module(self) -> str:
        """The module that it is in, by its name under `kyc_client`."""
        return self.name.removeprefix("kyc_client.").rpartition(".")[0]

    @property
    def place(self) -> str:
        """The function that it is in, as `module.Class.method`; mutmut writes `module.xǁClassǁmethod__mutmut_7`."""
        function = self.name.rpartition(".")[2].partition("__mutmut_")[0]
        return f"{self.module}.{function.removeprefix('xǁ').removeprefix('x_').replace('ǁ', '.')}"

    @property
    def changed(self) -> tuple[str, str]:
        """The lines that the change removes, and those that it puts in their place."""
        lines = [line for line in self.diff.splitlines() if not line.startswith(("---", "+++"))]
        old, new = ([line[1:].strip() for line in lines if line.startswith(sign)] for sign in "-+")
        return "\n".join(old), "\n".join(new)


@dataclass(frozen=True)
class Explanation:
    """Why mutants of a function may survive.

    Attributes:
        place: the function, as `_folder.module.Class.method`; a pattern (`_folder.module.*`) for several.
        becomes: what they put into its code, or, should they only take something out, what they take.
        why: the reason, for people.
    """

    place: str
    becomes: tuple[str, ...]
    why: str

    def covers(self, mutant: Mutant) -> bool:
        """Whether the mutant is one of those."""
        return fnmatch.fnmatchcase(mutant.place, self.place) and any(_does(mutant, text) for text in self.becomes)

    def missing(self, mutants: list[Mutant]) -> list[str]:
        """Which of those are not among the mutants."""
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
    """Copy what mutmut needs, in the layout that it understands; over an older copy, if there is one."""
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
        raise MutantsError(f"tests/conftest.py does not say {WATCHDOG} any more: adapt tools/mutants.py.")
    conftest.write_text(text.replace(WATCHDOG, SHORT_WATCHDOG), "utf-8")
    config = {**CONFIG, "only_mutate": [f"src/kyc_client/{module.replace('.', '/')}.py" for module in modules]}
    # Texts, numbers, lists and booleans look the same in JSON and in TOML.
    settings = "".join(f"{name} = {json.dumps(value)}\n" for name, value in config.items())
    project = (ROOT / "pyproject.toml").read_text("utf-8")
    (folder / "pyproject.toml").write_text(f"{project}\n[tool.mutmut]\n{settings}", "utf-8")


def mutmut(folder: Path, *arguments: str) -> str:
    """Run one of mutmut's commands that tell something, and give what it says."""
    command = [str(Path(sys.executable).with_name("mutmut")), *arguments]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, encoding="utf-8").stdout


def statuses(folder: Path) -> dict[str, str]:
    """Look up what became of each mutant."""
    lines = (line.strip().rpartition(": ") for line in mutmut(folder, "results", "--all", "true").splitlines())
    return {name: status for name, _, status in lines if name}


def forget_survivors(folder: Path) -> None:
    """Have mutmut try those again that were not noticed, and find out anew which test gets where."""
    unnoticed = {name for name, status in statuses(folder).items() if status not in NOTICED}
    for path in (folder / "mutants" / "src" / "kyc_client").rglob("*.meta"):
        known = json.loads(path.read_text("utf-8"))
        codes = known["exit_code_by_key"]
        known["exit_code_by_key"] = {name: None if name in unnoticed else code for name, code in codes.items()}
        path.write_text(json.dumps(known), "utf-8")
    (folder / "mutants" / "mutmut-stats.json").unlink(missing_ok=True)


def attack(folder: Path, processes: int) -> None:
    """Run the tests on all mutants that have not been tried; mutmut shows how far it is."""
    command = [str(Path(sys.executable).with_name("mutmut")), "run", "--max-children", str(processes)]
    if subprocess.run(command, cwd=folder, check=False).returncode:
        raise MutantsError("mutmut could not run: see above.")


def report(results: dict[str, str], survivors: list[Mutant], explanations: list[Explanation]) -> int:
    """Print what was found.

    Args:
        results: what became of each mutant, by name.
        survivors: those that were not noticed.
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
                print(f"\n{EXPLAINED.name} explains what has not survived: {one.place}, {text}")
    counts = ", ".join(f"{count} {status}" for status, count in Counter(results.values()).most_common())
    explained = len(survivors) - len(unexplained)
    print(f"\n{len(results)} mutants: {counts}; {explained} explained, {len(unexplained)} not")
    return 1 if unexplained else 0


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; the exit status is 0 if every mutant is noticed or explained."""
    parser = argparse.ArgumentParser(description="Mutation tests of the modules that decide: half an hour for all.")
    parser.add_argument("modules", nargs="*", metavar="MODULE", help=f"of {', '.join(MODULES)}; all if none is named")
    parser.add_argument("--again", action="store_true", help="only last time's survivors, and what has changed")
    parser.add_argument("--processes", type=int, default=2, metavar="N", help="how many mutants at a time (2)")
    options = parser.parse_args(arguments)
    modules = options.modules or list(MODULES)
    if unknown := sorted(set(modules) - set(MODULES)):
        parser.error(f"no such module: {', '.join(unknown)}. There are {', '.join(MODULES)}.")
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
