"""Other people's depth, one file each; packages are imported when an estimator is loaded, and installed by the user."""
