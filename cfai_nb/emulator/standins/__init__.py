"""Stand-ins, which answer in place of models: they compare letters, draw shapes and play tunes."""
