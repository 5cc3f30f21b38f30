"""``roostd``. Rooms, from the top: ``app`` wires all; ``server`` speaks to clients; ``sessions`` owns turns and
children; ``engines`` is what a child looks like; ``store`` keeps; ``process`` starts and ends; ``core`` decides (pure).
"""
