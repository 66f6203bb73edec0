"""The work behind `autoprune llm`: a run's folder, its stages, its report."""
