"""Compare the contract and the public names with an earlier commit, and a server's login with ours."""
