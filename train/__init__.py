"""Data sets, renderer, losses and programs for training (not installed with the node)."""
