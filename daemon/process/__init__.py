"""The only room that starts or ends a process.

``spawn`` children · ``workspace`` where they work · ``leftovers`` of a dead predecessor · ``proc`` what /proc tells.
"""
