"""Units of the core, without sockets."""
