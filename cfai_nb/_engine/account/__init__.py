"""The limits of an account, shared by all processes that use it: one coordinates, and the others send it messages."""
