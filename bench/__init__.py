"""Figures beside the best peer, in one run. `make bench` prints them."""
