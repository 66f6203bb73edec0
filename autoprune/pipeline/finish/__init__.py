"""From finalists to a finished network: fine-tuning and report."""
