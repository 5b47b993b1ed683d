"""The service around the models: limits, faults, quirks, batches, gateway, request log."""
