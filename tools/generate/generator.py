"""Run the generator (openapi-python-client). If it crashes, say in one line why, and where in the document."""

import sys
from types import FrameType

from openapi_python_client.cli import app

MARK = "CRASHED: "
# The generator needs a few frames for each link of a chain of references.
DEPTH = 50_000


def place(frame: FrameType) -> str:
    """Return the part of the document that a frame of the generator works on; "" if the frame does not say."""
    found = {name: getattr(value, "get_untrusted_value", lambda v=value: v)() for name, value in frame.f_locals.items()}
    if {"method", "path", "operation"} <= found.keys():
        return f"{str(found['method']).upper()} {found['path']}"
    if "ref_path" in found:
        return str(found["ref_path"]).removeprefix("/").replace("/", ".")
    if "model_prop" in found:
        return f"the model {found['model_prop'].class_info.name}"
    return ""


def main() -> None:
    """Run the generator's own command line."""
    sys.setrecursionlimit(DEPTH)
    try:
        app()
    except Exception as error:  # noqa: BLE001 - a bug of the generator may raise anything
        places, trace = [], error.__traceback__
        while trace is not None:
            places.append(place(trace.tb_frame))
            trace = trace.tb_next
        where = ", in ".join(dict.fromkeys(filter(None, places))) or "an unknown place"
        reason = " ".join(str(error).split()) or "no reason given"
        sys.exit(f"{MARK}{where}: {type(error).__name__}: {reason}")


if __name__ == "__main__":
    main()
