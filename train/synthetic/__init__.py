"""Renders of the open hand with exact labels: random hands, scenes, light and camera, without a display.

`README.md` beside this file tells what is drawn, how the shards are laid out and how to make them.
"""
