"""A child as its session sees it: kind ``worker`` lives between turns, kind ``command`` is started for each turn."""
