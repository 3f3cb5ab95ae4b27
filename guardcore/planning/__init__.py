"""What a run will cost, computed from a backbone's outline before any weight is loaded."""
