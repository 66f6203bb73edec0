"""The job behind `autoprune dynamic`: exits that really skip, chosen and verified on the target."""
