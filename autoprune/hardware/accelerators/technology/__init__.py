"""What silicon costs: energy and area of memories and arithmetic, by tables whose source is named."""
