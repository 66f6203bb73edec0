"""What every other package builds on: files, names, references, registries, locks, seeds, progress."""
