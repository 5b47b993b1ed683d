"""JSON Schemas: how they are written and checked, and those of text generation."""
