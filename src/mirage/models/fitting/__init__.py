"""Making a model fit a machine: planning, offload, quantisation."""
