"""Widgets in a real JupyterLab."""
