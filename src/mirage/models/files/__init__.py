"""Other people's checkpoints, branches and LoRAs, read strictly and written whole."""
