"""Documents to generate from, and ways to drive what comes out."""
