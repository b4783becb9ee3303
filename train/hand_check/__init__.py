"""The hand check: a small network that tells a hand from no hand and a right hand from a left one."""
