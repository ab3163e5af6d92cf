"""`epymarl-tr watch`: episodes of a trained team as a GIF or a video."""
