"""What ``make bench`` prints: the numbers of the design, each beside its bare yardstick and beside the peers."""
