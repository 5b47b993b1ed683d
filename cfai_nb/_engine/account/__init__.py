"""One limit for an account, however many processes ask: one of them coordinates, the others ask it."""
