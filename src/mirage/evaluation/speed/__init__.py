"""How fast and how large: the memory alone, and whole walks."""
