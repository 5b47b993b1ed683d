"""HTTP: from a request to the family that answers it, and from its result to a response."""
