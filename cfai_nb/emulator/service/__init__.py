"""What the service does around a model: limits, faults, quirks, batches, prompt cache, request log."""
