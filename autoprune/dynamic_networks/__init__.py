"""What all networks share whose work depends on their input: graph and stages, the module, files, stages on disk."""
