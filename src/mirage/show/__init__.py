"""What people are shown of a memory: colours for what has none of its own."""
