"""Evaluation of many recordings at once: in processes of this machine, or on a Ray cluster.

`jobs` finds the recordings, `schedule` hands them out and tries again where a worker dies, `processes` and
`ray_cluster` are the workers, `summary` and `report` join the results.
"""
