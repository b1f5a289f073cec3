"""Images and what is annotated on them: masks, moves of both at once, formats."""
