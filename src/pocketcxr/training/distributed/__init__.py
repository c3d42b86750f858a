"""Training on several processes and machines, which Accelerate joins over torch.distributed."""
