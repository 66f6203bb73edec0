"""The pipeline: train or load, profile, search, fine-tune, verify on the target, export, report."""
