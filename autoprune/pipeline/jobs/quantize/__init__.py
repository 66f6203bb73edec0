"""The job behind `autoprune quantize`: integers whose types, ranges and layers are chosen by measurement."""
