"""Networks of other people that a walk may ask: depth of frames, what moves, whether two pictures show one scene."""
