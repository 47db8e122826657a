"""Memories to compare with: explicit RGB points, plain frames, the published algorithm restated."""
