"""Documents to generate from, and scenarios that use the generated packages."""
