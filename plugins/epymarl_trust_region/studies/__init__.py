"""The papers' tables and figures that need no training, with what is exact in them."""
