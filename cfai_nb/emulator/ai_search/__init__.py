"""AI Search, the service's search over documents."""
