"""Studies as a whole: created, found, renamed, controlled, enqueued and copied."""
