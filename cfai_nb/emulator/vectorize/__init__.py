"""Vectorize, the service's vector store."""
