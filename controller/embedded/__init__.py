"""The pod driver of one machine: CRI, the boxes' network and their names. Knows no SQL."""
