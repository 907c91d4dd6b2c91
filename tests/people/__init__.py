"""What people use: the command line, the docs, the testing kit, the wheel."""
