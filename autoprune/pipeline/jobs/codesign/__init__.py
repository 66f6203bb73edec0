"""The job behind `autoprune codesign`: how much of each layer stays, and the accelerator that runs what stays."""
