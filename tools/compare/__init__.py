"""What changed in the contract and in the public names, and how a server's login differs from ours."""
