"""Walk a world live, in a browser: the memory answers at once, the model follows."""
