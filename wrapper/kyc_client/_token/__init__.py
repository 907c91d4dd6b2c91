"""The life of a token: when it is used, when it is renewed, and how callers wait for the login."""
