"""What a caller sees, over real sockets."""
