"""Recorded episodes: written while a run plays, read by offline learners and by other tools (docs/offline.md)."""
