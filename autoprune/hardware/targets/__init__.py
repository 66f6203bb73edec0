"""The runtimes, one file or folder each."""
