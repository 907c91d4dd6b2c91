"""The repository's own tools. Run each as a module from the repository's root: `python -m tools.generate`."""
