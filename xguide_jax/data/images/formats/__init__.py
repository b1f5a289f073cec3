"""Photographs of one's own with what a person drew on them, a reader a file format.

Nothing here is trusted. A file that breaks its format is refused with its name and the
place; one object or image that does not fit is left out, and listed as a problem.
"""
