"""The repository's own tools, each run as a module from its root: `python -m tools.generate`."""
