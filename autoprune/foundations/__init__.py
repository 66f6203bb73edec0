"""What every room stands on: files, names, references, seeds."""
