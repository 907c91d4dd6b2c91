"""Tests of the document, its generation, and the generated code."""
