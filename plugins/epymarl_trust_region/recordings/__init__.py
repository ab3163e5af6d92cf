"""Episodes on disk, in Minari's format: writing, reading, and what a recording holds."""
