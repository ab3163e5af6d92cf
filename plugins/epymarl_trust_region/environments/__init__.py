"""Environments that this plugin adds, behind the suite's environment interface."""
