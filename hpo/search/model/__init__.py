"""Models of learning curves and values, and what they propose: freeze-thaw and its parts."""
