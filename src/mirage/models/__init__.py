"""The networks: autoencoder, denoiser with its memory branch, sampling, depth from latents. See world.py."""
