"""Published texts with rationales, and those of one's own, as a corpus each.

Nothing here is trusted. What publishers are known to leave in their files, a pair
without a gold label or an empty text, is skipped and counted; anything else that does
not fit is refused with its file and line.
"""
