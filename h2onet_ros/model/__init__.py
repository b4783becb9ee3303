"""The H2ONet network in PyTorch, checkpoint import and export."""
