"""Cameras, poses, grids and depth: the conventions of the project as values. See docs/conventions.md."""
