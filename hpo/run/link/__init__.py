"""A worker's link to its database: retries, write-behind while it is away, and the watchdog."""
