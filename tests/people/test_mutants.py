"""`tools/mutants.py`: what it makes of mutmut's results. The run itself takes long, and is `make mutants`."""

from __future__ import annotations

import functools
import importlib
import tomllib

import pytest

from tools import mutants
from tools.mutants import Explanation, Mutant, main, prepare, read_explanations, report

pytestmark = pytest.mark.tools

DIFF = """\
# kyc_client._token.policy.xǁBackoffǁextend__mutmut_3: survived
--- src/kyc_client/_token/policy.py
+++ src/kyc_client/_token/policy.py
@@ -1,3 +1,3 @@
 def extend(self, now: float) -> None:
-    self.until = now + self.delay
+    self.until = now - self.delay
     return
"""
SURVIVOR = Mutant("kyc_client._token.policy.xǁBackoffǁextend__mutmut_3", "survived", DIFF)
FUNCTION = Mutant("kyc_client._token.lease.x_lifetime__mutmut_1", "no tests", DIFF)
REMOVAL = Mutant(SURVIVOR.name, "survived", "@@ -1,2 +1,1 @@\n     call(\n-        name=5,\n     )\n")
RESULTS = {SURVIVOR.name: "survived", "kyc_client._token.policy.xǁBackoffǁend__mutmut_1": "killed"}


def test_place_is_the_name_that_people_know() -> None:
    """A method is named with its class, a function by itself."""
    assert (SURVIVOR.place, FUNCTION.place) == ("_token.policy.Backoff.extend", "_token.lease.lifetime")


@pytest.mark.parametrize(
    ("mutant", "place", "becomes", "covered"),
    [
        pytest.param(SURVIVOR, "_token.policy.Backoff.extend", "now - self.delay", True, id="what it puts in"),
        pytest.param(SURVIVOR, "_token.policy.*", "now - self.delay", True, id="pattern of places"),
        pytest.param(SURVIVOR, "_token.policy.Backoff.end", "now - self.delay", False, id="another place"),
        pytest.param(SURVIVOR, "_token.policy.Backoff.extend", "now * self.delay", False, id="another change"),
        pytest.param(SURVIVOR, "_token.policy.Backoff.extend", "self.until", False, id="what was there before"),
        pytest.param(SURVIVOR, "_token.policy.Backoff.extend", "return", False, id="what stands beside it"),
        pytest.param(REMOVAL, "_token.policy.Backoff.extend", "name=5", True, id="what it takes out"),
    ],
)
def test_explanation_covers_its_own_mutants_only(mutant: Mutant, place: str, becomes: str, *, covered: bool) -> None:
    """By the function and by what changes in it, since mutmut's numbers move with every edit."""
    assert Explanation(place, ("something else", becomes), "fake").covers(mutant) is covered


def test_survivor_without_an_explanation_is_shown_and_fails(capsys: pytest.CaptureFixture[str]) -> None:
    """With its place, its change and the counts."""
    assert report(RESULTS, [SURVIVOR], []) == 1
    printed = capsys.readouterr().out
    assert "_token.policy.Backoff.extend" in printed
    assert "    -    self.until = now + self.delay\n    +    self.until = now - self.delay\n" in printed
    assert "2 mutants: 1 survived, 1 killed; 0 explained, 1 not" in printed


def test_explained_survivor_passes(capsys: pytest.CaptureFixture[str]) -> None:
    """It is counted, and not shown."""
    explanation = Explanation("_token.policy.Backoff.*", ("now - self.delay",), "fake")
    assert report(RESULTS, [SURVIVOR], [explanation]) == 0
    assert capsys.readouterr().out == "\n2 mutants: 1 survived, 1 killed; 1 explained, 0 not\n"


def test_explanation_of_what_does_not_survive_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """The list does not outlive its reasons; of a module that was not tried, nothing is known."""
    stale = Explanation("_token.policy.Backoff.end", ("self.until = None",), "fake")
    other = Explanation("_token.lease.lifetime", ("life = None",), "fake")
    assert report(RESULTS, [], [stale, other]) == 0
    printed = capsys.readouterr().out
    assert "explains a mutant that has not survived: _token.policy.Backoff.end, self.until = None" in printed
    assert "_token.lease" not in printed


def test_explanations_are_of_code_that_is_there() -> None:
    """Each names a function of a module that is tried, and has a reason."""
    explanations = read_explanations()
    assert explanations
    for one in explanations:
        (module,) = (module for module in mutants.MODULES if one.place.startswith(f"{module}."))
        path = one.place.removeprefix(module).removesuffix(".*").split(".")[1:]
        assert functools.reduce(getattr, path, importlib.import_module(f"kyc_client.{module}"))
        assert one.becomes
        assert one.why.endswith(".")


def test_copy_is_laid_out_for_mutmut(tmp_path) -> None:
    """Packages under `src`, the tests with a watchdog that does not wait for long, and the settings."""
    prepare(tmp_path, ["_auth", "_token.lease"])
    assert (tmp_path / "src/kyc_client/_token/lease.py").is_file()
    assert (tmp_path / "src/kyc_openapi/client.py").is_file()
    assert mutants.SHORT_WATCHDOG in (tmp_path / "tests/conftest.py").read_text()
    settings = tomllib.loads((tmp_path / "pyproject.toml").read_text())["tool"]["mutmut"]
    assert settings["only_mutate"] == ["src/kyc_client/_auth.py", "src/kyc_client/_token/lease.py"]
    for path in (*settings["only_mutate"], *settings["pytest_add_cli_args_test_selection"]):
        assert (tmp_path / path).is_file()


def test_unknown_module_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """Before anything is copied or deleted."""
    with pytest.raises(SystemExit):
        main(["_tokens"])
    expected = f"no such module: _tokens. The modules are {', '.join(mutants.MODULES)}."
    assert expected in capsys.readouterr().err
