"""Commands of the main job, from a trained network to a small one."""
