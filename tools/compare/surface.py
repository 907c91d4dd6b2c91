"""The Python surface of the two packages: what is public, and what changed in it."""

from __future__ import annotations

import ast
import logging
from typing import TYPE_CHECKING, Any, TypeAlias

import griffe

from .changes import Change, Impact

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PACKAGES = ("kyc_openapi", "kyc_client")
MODELS = "kyc_openapi.models"
# The version must differ. The others are details of the implementation.
NOT_COMPARED = {"__version__", "__slots__", "T"}
Thing: TypeAlias = griffe.Object | griffe.Alias
Surface: TypeAlias = dict[str, Thing]


class AttrsInit(griffe.Extension):
    """Adds the `__init__` of attrs classes, because griffe adds it for dataclasses only."""

    def on_class(self, *, cls: griffe.Class, **_others: Any) -> None:
        """Add it to a class, if it is an attrs class."""
        # The generator uses these two names only.
        if not any(
            getattr(mark.value, "canonical_path", "") in {"attrs.define", "attr.define"} for mark in cls.decorators
        ):
            return
        parameters = [griffe.Parameter("self", kind=griffe.ParameterKind.positional_or_keyword)]
        parameters += filter(None, map(_parameter, cls.members.values()))
        # Put keyword-only parameters last. Otherwise griffe reports that others have moved when one is added.
        parameters.sort(key=lambda parameter: parameter.kind is griffe.ParameterKind.keyword_only)
        init = griffe.Function("__init__", parameters=griffe.Parameters(*parameters), returns="None", parent=cls)
        cls.set_member("__init__", init)


def _parameter(member: Thing) -> griffe.Parameter | None:
    """Return the parameter of `__init__` for a field of an attrs class; None if it has none."""
    if not isinstance(member, griffe.Attribute) or member.annotation is None or "property" in member.labels:
        return None
    given: dict[str, Any] = {}
    default: Any = member.value
    if isinstance(member.value, griffe.ExprCall) and member.value.canonical_path in {"attrs.field", "attr.field"}:
        given = {each.name: each.value for each in member.value.arguments if isinstance(each, griffe.ExprKeyword)}
        default = given.get("default", given.get("factory"))
    if str(given.get("init")) == "False":
        return None
    by_name = str(given.get("kw_only")) == "True"
    return griffe.Parameter(
        str(given["alias"]).strip("'\"") if "alias" in given else member.name.lstrip("_"),
        annotation=member.annotation,
        kind=griffe.ParameterKind.keyword_only if by_name else griffe.ParameterKind.positional_or_keyword,
        default=default,
    )


def load(*folders: Path) -> dict[str, griffe.Module]:
    """Read both packages from their source, without running them."""
    # Otherwise griffe reports each import of another package that it cannot follow.
    logging.getLogger("griffe").setLevel(logging.CRITICAL)
    loader = griffe.GriffeLoader(
        extensions=griffe.load_extensions(AttrsInit()), search_paths=list(folders), allow_inspection=False
    )
    modules = {name: loader.load(name) for name in PACKAGES}
    loader.resolve_aliases(external=False)
    for package in modules.values():
        _hide(package)
    return modules  # type: ignore[return-value]  # a package is a module


def _hide(thing: Thing) -> None:
    """Make names private on which no user should rely."""
    for member in thing.members.values():
        # Users import models from the package. The generator is free to put them into any module.
        if member.is_alias:
            continue
        if member.name in NOT_COMPARED or (thing.path == MODELS and member.is_module):
            member.public = False
        if member.is_module or member.is_class:
            _hide(member)


def surface(thing: Thing, path: str) -> Iterator[tuple[str, Thing]]:
    """Yield every public thing below this one, with its path."""
    try:
        # Include inherited members, because users use them like the class's own.
        members = thing.all_members if thing.is_class else thing.members
    except griffe.AliasResolutionError:
        return  # from another package
    for name, member in members.items():
        if member.is_public:
            yield f"{path}.{name}", member
            # A module that is imported into another one is visited only at its own place.
            if member.is_class or (member.is_module and not member.is_alias):
                yield from surface(member, f"{path}.{name}")


def shortest_paths(*surfaces: Surface) -> dict[str, str]:
    """Map the path where a thing is defined to the shortest path by which users find it."""
    paths: dict[str, str] = {}
    for found in surfaces:
        for path, thing in found.items():
            paths[thing.canonical_path] = min(paths.get(thing.canonical_path, path), path, key=len)
    return paths


def changes(old: dict[str, griffe.Module], new: dict[str, griffe.Module]) -> set[Change]:
    """List what changed for those who import the packages."""
    then, now = ({path: thing for name in PACKAGES for path, thing in surface(side[name], name)} for side in (old, new))
    shortest = shortest_paths(then, now)
    found: set[Change] = set()
    for name in PACKAGES:
        for breakage in griffe.find_breaking_changes(old[name], new[name]):
            found.add(_breakage(breakage, shortest))
    modules = {path for path, thing in now.items() if thing.is_module} | set(PACKAGES)
    reported = {change.where for change in found}
    for path in then.keys() - now.keys():
        # It may still exist but be private now. griffe does not report that.
        if path.rpartition(".")[0] in modules and path not in reported:
            found.add(Change(Impact.BREAKS, path, "no longer public"))
    for path, thing in now.items():
        parent = path.rpartition(".")[0]
        if path in then:
            if shortest[thing.canonical_path] == path:
                found.update(_types(path, then[path], thing))
                found.update(_new_parameters(path, then[path], thing))
        elif (parent in then or parent in PACKAGES) and not thing.is_special:
            found.add(Change(Impact.ADDS, path, f"new {thing.kind.value}"))
    return found


def _public_path(path: str, shortest: dict[str, str]) -> str:
    """Return the path by which users import a thing. If it has none, start from the nearest parent that has one."""
    head, tail = path, ""
    while head not in shortest:
        head, dot, last = head.rpartition(".")
        if not dot:
            return path
        tail = f".{last}{tail}"
    return shortest[head] + tail


def _breakage(breakage: griffe.Breakage, shortest: dict[str, str]) -> Change:
    where = _public_path(breakage.obj.path, shortest)
    what = breakage.kind.value[0].lower() + breakage.kind.value[1:]
    subject = breakage.new_value if breakage.old_value is None else breakage.old_value
    if isinstance(subject, griffe.Parameter):
        where += f"({subject.name})"
        if breakage.kind is griffe.BreakageKind.PARAMETER_CHANGED_DEFAULT:
            what += f" from {subject.default} to {breakage.new_value.default}"
    return Change(Impact.BREAKS, where, what)


def _parameters(thing: Thing) -> dict[str, griffe.Parameter]:
    """Return the parameters of a function, by name."""
    return {parameter.name: parameter for parameter in thing.parameters} if thing.is_function else {}  # type: ignore[union-attr]


def _new_parameters(path: str, then: Thing, now: Thing) -> Iterator[Change]:
    """Yield the new optional parameters. griffe reports the new required ones."""
    before = _parameters(then)
    for name, parameter in _parameters(now).items():
        if name not in before and not parameter.required:
            yield Change(Impact.ADDS, f"{path}({name})", "new parameter, which may be left out")


def _types(path: str, then: Thing, now: Thing) -> Iterator[Change]:
    """Yield types that became wider for users who read a value, or narrower for users who pass one.

    griffe does not compare types.
    """
    if then.kind is not now.kind:
        return
    if then.is_attribute:
        yield from _widened(path, then.annotation, now.annotation)  # type: ignore[union-attr]
    for name, parameter in _parameters(now).items():
        if name in _parameters(then):
            refused = union(_parameters(then)[name].annotation) - union(parameter.annotation)
            if refused and parameter.annotation is not None:
                yield Change(Impact.BREAKS, f"{path}({name})", f"no longer takes {' | '.join(sorted(refused))}")
    if then.is_function:
        yield from _widened(path, then.returns, now.returns)  # type: ignore[union-attr]


def _widened(path: str, then: Any, now: Any) -> Iterator[Change]:
    added = union(now) - union(then)
    if added and then is not None:
        yield Change(Impact.BREAKS, path, f"may now be {' | '.join(sorted(added))}")


def union(annotation: Any) -> set[str]:
    """Split a type into its alternatives: `A | B`, and `Response[A | B]` into `Response[A]` and `Response[B]`.

    Without an annotation, the result is empty.
    """
    return set() if annotation is None else set(_alternatives(ast.parse(str(annotation), mode="eval").body))


def _alternatives(node: ast.expr) -> Iterator[str]:
    match node:
        case ast.BinOp(left, ast.BitOr(), right):
            yield from _alternatives(left)
            yield from _alternatives(right)
        case ast.Subscript(value, ast.BinOp() as inner):
            yield from (f"{ast.unparse(value)}[{each}]" for each in _alternatives(inner))
        case ast.Constant(str(text)):
            yield from _alternatives(ast.parse(text, mode="eval").body)
        case _:
            yield ast.unparse(node)
