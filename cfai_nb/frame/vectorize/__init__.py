"""Vectorize, the vector database of the service: ``to_vectorize`` uploads vectors, ``stored`` searches an index.

``metadata``, ``resume`` and the second half of ``stored`` serve AI Search (``frame/ai_search``) as well.
"""
