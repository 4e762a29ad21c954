"""Work ledger: claims, leases, reports and outcomes, exact under any number of workers."""
