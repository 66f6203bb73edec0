"""One run: its settings, its folder, its rows and its report."""
