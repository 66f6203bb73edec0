"""Tests, a folder a room; what several of them need is in `tests.support`."""
