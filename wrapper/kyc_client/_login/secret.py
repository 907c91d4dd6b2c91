"""Value objects that hold a secret and never show it."""

from __future__ import annotations

from typing import Any, NoReturn


class Masked:
    """A frozen value object; subclasses list in `_shown` which of their attributes may be seen.

    Neither an attrs class nor a dataclass: their `asdict()` would hand out what `repr` hides. With slots there is no
    `vars()` either, so that crash reporters, which collect locals with `repr` and `vars`, find nothing.
    """

    __slots__: tuple[str, ...] = ()
    _shown: tuple[str, ...] = ()

    def _set(self, **values: object) -> None:
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def _key(self) -> tuple[object, ...]:
        return tuple(getattr(self, name) for name in self.__slots__)

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"{type(self).__name__} is frozen")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"{type(self).__name__} is frozen")

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and isinstance(other, Masked) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def __repr__(self) -> str:
        names = (name.removeprefix("_") for name in self.__slots__)
        shown = (f"{name}={getattr(self, name)!r}" if name in self._shown else f"{name}=***" for name in names)
        return f"{type(self).__name__}({', '.join(shown)})"

    def __format__(self, spec: str) -> str:
        return format(repr(self), spec)

    def __copy__(self) -> Any:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        return self

    def __getstate__(self) -> NoReturn:
        raise TypeError(
            f"{type(self).__name__} is not pickled, because it holds a secret: "
            "let each process read its own credentials from the environment."
        )

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        self.__getstate__()
