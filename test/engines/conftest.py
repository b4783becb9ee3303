import sys
from pathlib import Path

# The networks under test are built by the helpers of the model's tests.
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "model"))
