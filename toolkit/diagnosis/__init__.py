"""Why a file is slow, inaccurate, or answers otherwise on another engine, and where its time goes.

Figures of whole files are measured in `measurement`.
"""
