"""What a policy is measured against: simple rules, and the optimum under perfect foresight."""
