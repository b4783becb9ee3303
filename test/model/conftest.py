import os

# PyTorch's idle threads spin, which on a machine busy with something else multiplies the time of the tests.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
