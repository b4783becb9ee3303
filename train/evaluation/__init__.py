"""How good a network is: what is measured, on which samples, and how it is shown."""
