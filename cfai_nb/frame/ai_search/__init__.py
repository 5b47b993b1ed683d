"""AI Search, the service's search over documents: ``to_ai_search`` uploads texts, ``passages`` searches and answers."""
