"""Series: sets with known evidence, and readers of published files."""
