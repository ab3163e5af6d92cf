"""Other implementations of the same algorithms, measured beside ours: what `epymarl-tr bench --peer` compares.

A peer is a checkout of its repository, run by a Python that has what it needs. The script `run_<peer>.py` here runs in
that Python, by itself: it imports the peer and not this package, and speaks lines of JSON with `side.py`.
"""
