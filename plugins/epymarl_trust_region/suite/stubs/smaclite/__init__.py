"""Stands in for SMAClite where it is not installed, because EPyMARL imports it whatever the environment is."""
