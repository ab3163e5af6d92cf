"""Environments: ids, wrappers and batched forms, and the contract that all of them are held to.

Nothing is imported here, so that a process which only makes an environment loads no more than that needs.
"""
