"""Options that users set, each declared once: the form of such records, and those of a conversion.

Nothing that opens or computes anything lives here.
"""
