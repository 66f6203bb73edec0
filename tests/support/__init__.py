"""What tests share: networks, targets, jobs, files; imported as `tests.support.NAME`."""
