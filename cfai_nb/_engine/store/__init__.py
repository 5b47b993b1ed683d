"""Where paid answers are kept: an SQLite file, its writer, the index of its keys, and the codec of its records."""
