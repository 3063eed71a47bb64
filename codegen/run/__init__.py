"""Runs programs on this machine, in an emulator or on a device."""
