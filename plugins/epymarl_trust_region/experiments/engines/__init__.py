"""Where the runs of a sweep are made: one file for each kind of place."""
