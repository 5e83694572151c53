"""What a model costs to train and to serve, from its shape: FLOPs, memory, GPU hours, prices."""
