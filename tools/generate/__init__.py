"""Generate the API client package from the OpenAPI document. The same document gives the same bytes on any machine.

The work happens in a temporary folder. We check the document, run the generator, compile its output, make our edits,
format with ruff, and check types with mypy. Only then does the result replace the old output, so a failure leaves the
old output complete.
"""

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

from .checks import check_imports, check_secrets, check_types, compile_package
from .edits import EDITS, edit_operations
from .models import describe, load_lazily, load_references, mask_models
from .names import check_names
from .output import MARK, compare, refuse_foreign, swap
from .refusals import check_spec
from .run import call_generator, format_package
from .spec import GenerationError, leave_out_empty_errors, read_spec, secrets_by_shape, write_out_security

# The generator writes for mypy --strict. Pyright's strict mode also requires annotations of local variables.
HEADER = MARK + "{} by `make generate`. Do not edit: change the spec and generate again.\n# pyright: standard\n"


def build(spec_path: Path, package: Path) -> dict[str, Any]:
    """Write the complete package into the new folder `package`, and return the document.

    Raises:
        GenerationError: the document cannot be generated; the message says where and why.
    """
    name = spec_path.name
    spec = read_spec(spec_path)
    try:
        check_spec(spec)
        check_names(spec)
        shapes = secrets_by_shape(spec)
    except GenerationError as error:
        raise GenerationError(f"{name}: {error}") from error
    public = write_out_security(spec)
    leave_out_empty_errors(spec)
    call_generator(spec, package, name)
    compile_package(package, name, spec)
    for edit in EDITS:
        edit.apply(package)
    edit_operations(package, spec, public)
    mask_models(package, shapes)
    describe(package)
    load_references(package)
    load_lazily(package, name)
    for path in package.rglob("*.py"):
        path.write_text(HEADER.format(name) + path.read_text("utf-8"), "utf-8")
    (package / "py.typed").touch()
    format_package(package)
    return spec


def main(arguments: list[str] | None = None) -> int:
    """Run the command line. Return 0 on success, else 1."""
    parser = argparse.ArgumentParser(
        prog="generate", description="Generate the API client package from the OpenAPI document."
    )
    parser.add_argument("--spec", type=Path, required=True, help="the OpenAPI document, YAML or JSON")
    parser.add_argument("--out", type=Path, required=True, help="the package's folder, which is replaced completely")
    parser.add_argument("--check", action="store_true", help="write nothing; fail if the folder is not up to date")
    options = parser.parse_args(arguments)
    spec, out = options.spec, options.out.resolve()
    try:
        with tempfile.TemporaryDirectory(prefix="generate-") as folder:
            package = Path(folder).resolve() / out.name
            if not options.check:
                refuse_foreign(out)
            document = build(spec, package)
            if options.check:
                compare(out, package, spec.name)
            else:
                check_secrets(package, spec.name)
                check_types(package, spec.name, document)
                check_imports(package, spec.name)
                swap(package, out)
    except GenerationError as error:
        print(error, file=sys.stderr)
        return 1
    except OSError as error:
        print(f"{error.filename}: {error.strerror}. Nothing was changed.", file=sys.stderr)
        return 1
    print(f"{options.out} is {'up to date with' if options.check else 'generated from'} {spec.name}")
    return 0
