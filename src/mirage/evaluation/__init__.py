"""Measuring what a world model remembers: metrics, tasks, controls and the tables made of them."""
