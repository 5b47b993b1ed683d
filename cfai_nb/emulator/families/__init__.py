"""Families: one file per dialect or kind of model, with its schemas, its check and its answer."""
