"""The policy, driven through all orders of its events, against the contract as invariants."""
