"""Link of a worker to its database: retries, write-behind during an outage, and the watchdog."""
