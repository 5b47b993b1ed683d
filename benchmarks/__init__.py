"""Benchmarks: ratios in one run, see README.md beside this file."""
