"""What a job would do, about how long it would take, and what it would write: `--dry-run`. Nothing is written."""
