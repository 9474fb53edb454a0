"""How the fork's changes get onto upstream Keras.

`edits` changes single definitions of a module, and with `statements` single
statements; `upstream_branch` makes branches of our fixes in a clone of
upstream's repository.
"""
