"""The job behind `autoprune dynamic`: exits, widths or blocks that each input chooses, verified on the target."""
