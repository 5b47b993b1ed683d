"""Vectorize, the service's store of vectors: what a frame becomes in it, how that gets there, and what is found."""
