"""Occlusion labels of data sets that come with a mesh and a segmentation of the hand."""
