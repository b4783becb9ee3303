"""Published data sets of hands as sources of training and evaluation frames."""

from train.datasets.base import DataSetError, Frame, OrderedSource, Source
from train.datasets.hands import HandDataset, Problem, open_dataset

__all__ = ["DataSetError", "Frame", "HandDataset", "OrderedSource", "Problem", "Source", "open_dataset"]
