"""Dynamic inference: a network whose easy inputs leave early, through a head at one of a few places."""
