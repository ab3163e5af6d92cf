"""Trust-region and natural-gradient multi-agent learners for EPyMARL."""

__version__ = "0.1.0"
