"""How the fork's changes get onto upstream Keras.

`edits` changes single definitions of a module; `upstream_branch` makes a branch
of a checkout of upstream's.
"""
