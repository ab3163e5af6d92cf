"""`epymarl-tr crossplay`: checkpoints against each other."""
