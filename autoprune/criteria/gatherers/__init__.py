"""What is gathered in the one pass over calibration data, one file for each need."""
