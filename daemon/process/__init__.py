"""The only room that starts or ends a process.

``processes`` is its door: an owner has any number of children, and each has a tree, a leaf of a cgroup and an end.
``clearing`` kills and looks again · ``leftovers`` of a dead daemon · ``workspace`` · ``usage`` · ``proc``.
"""
