"""Stand-ins: what answers in a model's place. They compare letters, draw shapes and play tunes."""
