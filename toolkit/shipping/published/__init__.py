"""Read a published folder, of which nothing counts before it is verified. Guide: docs/updates.md.

files.py    bytes of regular files below the folder, within limits; no link is followed
folder.py   verifies the chain of trusted keys from there, and every signed list

`bundles` and `publishing` read a published folder by `folder.read_repository` alone. Nothing here writes into one, or
opens a private key.
"""
