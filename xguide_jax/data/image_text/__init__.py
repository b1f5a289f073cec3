"""Images that people described: maps of the evidence, and texts that name it."""
