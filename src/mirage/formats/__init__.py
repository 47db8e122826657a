"""What other people's files look like, and ours to them; every fault of a file is an `InputError`.

`cameras` (RealEstate10K, TUM, 7-Scenes, npz, MotionCtrl, COLMAP, nerfstudio), `trajectories` (a file, a preset or
keys), `keys`, `image`, `video`, `depth`, `ply`, `picture` (sheets, maps, plots), `receipt`. All but camera files are
imported from their own module, so that nobody pays for a video library who only reads poses.
"""

from mirage.formats.cameras import load_cameras, save_cameras

__all__ = ["load_cameras", "save_cameras"]
