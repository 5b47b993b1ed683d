"""Vectorize, the service's vector database: `verb` uploads the vectors of a frame, `stored` searches an index."""
