"""One login: the credentials, the way to the API, and what its answer means. Knows nothing of a token's life."""
