"""What all networks share whose work depends on their input: graph, stages, thresholds, the module, files."""
