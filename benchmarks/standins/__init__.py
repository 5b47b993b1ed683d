"""Fit and measure the local stand-in: ``python -m benchmarks.standins``."""
