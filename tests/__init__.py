"""The tests, in rooms."""
