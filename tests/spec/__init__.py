"""The document, its generation, and what is generated."""
