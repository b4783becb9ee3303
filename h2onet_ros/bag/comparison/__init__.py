"""Two evaluations of one recording side by side: what differs, by how much, how sure that is.

`runs` reads them, `pairing` finds the same images and hands in both, `measures` and `bootstrap` compare,
`pictures` and `report` show.
"""
