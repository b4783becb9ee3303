"""Engines that run exported networks, and the weights bundles they run."""
