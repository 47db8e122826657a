"""How far the winner of a cell spreads into its neighbours: what footprint.py and its twin share."""

SHARE = 0.6
"""Half the side of a splat, in footprints. 0.5 leaves seams, 0.75 swells silhouettes."""
REACH = 2
"""A splat ends this many cells from its own: enough for a camera four times closer."""
BEHIND = 0.9
"""A winner is covered by a neighbour whose depth is less than this share of its own."""
