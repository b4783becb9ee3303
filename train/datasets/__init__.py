"""Published data sets of hands as sources of training and evaluation frames."""
