"""Uploading a folder of this machine into a bucket."""
