"""Value objects that hold a secret and never show it."""

from __future__ import annotations

from typing import Any, NoReturn, Self


class Masked:
    """A frozen value object. A subclass lists in `_shown` the attributes that may be seen.

    It is no attrs class and no dataclass, because their `asdict()` would show what `repr` hides. With slots there is no
    `vars()`, so crash reporters, which collect locals with `repr` and `vars`, find nothing.
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


class MaskedBytes(bytes):
    """Bytes that show nothing in their `repr`, and are pickled as `b"***"`."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "b'***'"

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def __reduce_ex__(self, protocol: object) -> tuple[type[bytes], tuple[bytes]]:
        return bytes, (b"***",)


class MaskedHeader(str):
    """The value of an `Authorization` header. It shows nothing in its `repr`, and is pickled as `***`.

    httpx encodes the value of a header and passes the result on, down to the connection. The encoded value is masked
    too, because crash reporters show the frames of httpx, and because callers pickle responses with their requests.
    """

    __slots__ = ("_encoded",)
    _encoded: bytes

    def __new__(cls, value: str) -> Self:
        self = super().__new__(cls, value)
        self._encoded = MaskedBytes(value, "utf-8", "replace")
        return self

    def encode(self, *_: object, **__: object) -> bytes:
        return self._encoded

    def __repr__(self) -> str:
        return "'***'"

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def __reduce_ex__(self, protocol: object) -> tuple[type[str], tuple[str]]:
        return str, ("***",)
