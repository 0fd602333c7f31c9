"""Commands for those who maintain the project: calibration, frozen sets, golden episodes."""
