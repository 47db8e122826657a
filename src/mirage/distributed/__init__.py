"""Many walks, tasks or clips on many processes, GPUs and machines, with Ray: `crew.drive` gives out work, `batch` is of
walks."""
